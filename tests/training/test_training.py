"""From groups to a verifier that runs: tried where PyTorch and transformers are installed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.inference.local_embedder import TOKENIZER
from app.inference.verifier import CrossEncoder

ROOT = Path(__file__).parent.parent.parent
WORDS = 30_527

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def run(module: str, *arguments: object) -> str:
    command = [sys.executable, "-m", f"training.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MPNet of the right names and nothing learnt, and a tokenizer as MPNet's is."""
    folder = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(1)
    shape = transformers.MPNetConfig(
        vocab_size=WORDS,
        hidden_size=768,
        num_hidden_layers=2,
        num_attention_heads=12,
        intermediate_size=1024,
    )
    transformers.MPNetForMaskedLM(shape).save_pretrained(folder)
    known = json.loads(TOKENIZER.read_text("utf-8"))["model"]["vocab"]
    ordered = [word for word, _ in sorted(known.items(), key=lambda item: item[1])]
    words = ["<s>", "<pad>", "</s>", "<unk>", *ordered, "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    vocabulary = {word: number for number, word in enumerate(words)}
    transformers.MPNetTokenizer(vocab=vocabulary).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    things = ("parcel", "invoice", "password", "train", "garden", "recipe", "visa", "cat")
    path = tmp_path_factory.mktemp("groups") / "groups.jsonl"
    lines = [
        {
            "questions": [f"Where is my {thing}?", f"where can I find my {thing}"],
            "near": [{"q": f"When was my {thing} made?"}, {"q": f"Where is your {thing}?"}],
        }
        for thing in things
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", "utf-8")
    return path


@pytest.mark.timeout(400)
def test_a_network_is_trained_goes_on_where_it_stood_and_says_the_same_in_eight_bits(
    backbone: Path, groups: Path, tmp_path: Path
) -> None:
    asked = (backbone, tmp_path, "--groups", groups, "--batch", 8, "--frozen", 1)
    run("train", *asked, "--steps", 3)
    before = torch.load(tmp_path / "model.pt", weights_only=True)
    assert before["step"] == 3
    shutil.copy(tmp_path / "model.pt", tmp_path / "earlier.pt")
    run("train", *asked, "--steps", 5)
    after = torch.load(tmp_path / "model.pt", weights_only=True)
    assert after["step"] == 5
    moved = {
        name
        for name, weight in after["mean"].items()
        if not torch.equal(weight, before["mean"][name])
    }
    assert any("layer.1." in name for name in moved)
    assert not any("layer.0." in name or "word_embeddings" in name for name in moved)
    trained = (tmp_path / "earlier.pt", tmp_path / "model.pt")
    told = run("export", backbone, *trained, tmp_path / "made")
    assert float(told.rsplit("correlation with the floats ", 1)[1]) > 0.95
    assert CrossEncoder(tmp_path / "made").logit("Where is my cat?", "Where is a cat?") is not None
