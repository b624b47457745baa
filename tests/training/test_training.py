"""From labelled pairs to a verifier that runs: tried where PyTorch is installed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.core.models import StoredText
from app.inference.local_embedder import TOKENIZER
from app.inference.verifier import load_verifier

ROOT = Path(__file__).parent.parent.parent
WIDTH, INNER, LAYERS, WORDS = 64, 128, 2, 30_522

pytest.importorskip("torch")
model = pytest.importorskip("training.model")
weights = pytest.importorskip("training.weights")
safetensors = pytest.importorskip("safetensors.numpy")


def run(module: str, *arguments: object) -> str:
    command = [sys.executable, "-m", f"training.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def small_bert(path: Path) -> Path:
    """Write a BERT of the right names and nothing learnt."""
    draw = np.random.default_rng(1).normal
    shapes = {
        "embeddings.word_embeddings.weight": (WORDS, WIDTH),
        "embeddings.position_embeddings.weight": (512, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        inside = f"encoder.layer.{layer}."
        for part in ("attention.self.query", "attention.self.key", "attention.self.value"):
            shapes[f"{inside}{part}.weight"] = (WIDTH, WIDTH)
        shapes[f"{inside}attention.output.dense.weight"] = (WIDTH, WIDTH)
        shapes[f"{inside}intermediate.dense.weight"] = (INNER, WIDTH)
        shapes[f"{inside}output.dense.weight"] = (WIDTH, INNER)
        norms += [f"{inside}attention.output.LayerNorm", f"{inside}output.LayerNorm"]
    tensors = {name: 0.1 * draw(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name in [name for name in tensors if name.startswith("encoder.")]:
        bias = name.removesuffix("weight") + "bias"
        tensors[bias] = 0.1 * draw(size=len(tensors[name])).astype(np.float32)
    for name in norms:
        tensors[f"{name}.weight"] = 1 + 0.1 * draw(size=WIDTH).astype(np.float32)
        tensors[f"{name}.bias"] = 0.1 * draw(size=WIDTH).astype(np.float32)
    safetensors.save_file(tensors, path)
    return path


def logged_pairs(path: Path) -> Path:
    """Write pairs as a team would find in its logs: two wordings of things, and other things."""
    lines = []
    for number in range(240):
        thing = f"order {number * 7919 % 1000} of shop {chr(97 + number % 26)}"
        other = f"order {number * 6007 % 1000 + 1} of shop {chr(97 + number % 25)}"
        asked, worded = f"Where is {thing}?", f"Please tell me where {thing} is."
        same = number % 2
        lines.append({"a": asked, "b": worded if same else f"Where is {other}?", "same": same})
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_exported_weights_come_back_but_for_rounding(tmp_path: Path) -> None:
    bert = model.start_from(small_bert(tmp_path / "bert.safetensors"))
    saved, exported = tmp_path / "model.pt", tmp_path / "model.onnx"
    model.save(bert, saved)
    run("export", saved, exported)
    back = dict(weights.read_weights(exported).named_parameters())
    for name, weight in bert.named_parameters():
        assert (weight - back[name]).abs().max() <= weight.abs().max() / 127, name


async def test_a_team_makes_a_verifier_of_its_own_logs(tmp_path: Path) -> None:
    pairs, model = logged_pairs(tmp_path / "pairs.jsonl"), tmp_path / "model"
    run(
        "train",
        pairs,
        *("--weights", small_bert(tmp_path / "bert.safetensors")),
        *("--tokenizer", TOKENIZER),
        *("--made", 200),
        *("--out", model),
    )
    first, exported = model / "model.pt", tmp_path / "first.onnx"
    run("export", first, exported)
    run(
        "train",
        pairs,
        *("--weights", first, exported),
        *("--tokenizer", TOKENIZER),
        *("--made", 20),
        *("--out", tmp_path / "again"),
    )
    run("export", first, tmp_path / "again" / "model.pt", model / "model-int8.onnx")
    told = run("calibrate", pairs, "--model", model)
    assert "pairs" in told
    verifier = load_verifier("all-MiniLM-L6-v2", model)
    (probability,) = await verifier.verify("Where is it?", [StoredText("Where is it now?", 0.1)])
    assert 0 < probability < 1
    await verifier.aclose()
