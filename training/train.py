"""Train the verifier: `python -m training.train --help`."""

import argparse
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from training.augment import make
from training.mine import LEARNT, open_mine
from training.model import CrossEncoder, mean, save
from training.pairs import Labelled, plain, read_pairs, split
from training.weights import read_weights

_logger = logging.getLogger("training")

_SIDE = 64  # tokens of either question; longer ones are cut, in training only
_BATCH = 32
_POOL = 100  # batches that are sorted by length together
_WARM = 0.06  # of the steps
_DECAY = 0.01
_DOUBT = 0.03  # of every label: some are wrong
_SHOWN = 50  # steps from one line to the next


@dataclass(frozen=True, slots=True)
class Encoded:
    """A pair in tokens."""

    first: Sequence[int]
    second: Sequence[int]
    same: bool


def main() -> None:
    """Read the command line, train, and leave the weights and what was done in a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, nargs="+", help="labelled pairs, .jsonl or .jsonl.gz")
    parser.add_argument("--streams", type=Path, nargs="*", default=[], help="to mine pairs from")
    parser.add_argument(
        "--weights",
        type=Path,
        nargs="+",
        required=True,
        help="a BERT's .safetensors, or what to go on from, .pt or .onnx, or the mean of several",
    )
    parser.add_argument("--tokenizer", type=Path, required=True, help="its tokenizer.json")
    parser.add_argument("--recipe", type=Path, help="JSON: how often each source is seen")
    parser.add_argument("--made", type=int, default=10_000, help="pairs to make")
    parser.add_argument("--rate", type=float, default=1e-4, help="of learning, at its highest")
    parser.add_argument("--minutes", type=float, default=1e6, help="stop in time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    rng = Random(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    recipe = json.loads(arguments.recipe.read_text()) if arguments.recipe else {}
    pairs = gather(arguments.pairs, arguments.streams, arguments.made, rng)
    pairs = mix(pairs, recipe, rng)
    _logger.info("%d pairs: %s", len(pairs), Counter((p.source, p.same) for p in pairs))
    model = mean([read_weights(path) for path in arguments.weights])
    tokenizer = Tokenizer.from_file(str(arguments.tokenizer))
    encoded = encode(pairs, tokenizer)
    pace = Pace(arguments.rate, arguments.minutes)
    learn(model, encoded, rng, pace, arguments.out / "model.pt")


def gather(
    files: Sequence[Path], streams: Sequence[Path], made: int, rng: Random
) -> list[Labelled]:
    """Put together what is learnt from: the training side of the split, and what is made of it."""
    parts = split(read_pairs(files))
    pairs = list(parts.train)
    others = (*parts.calibration, *parts.report)
    held_back = {plain(text) for pair in others for text in (pair.a, pair.b)}
    mines = [open_mine(path) for path in streams]
    # What one stream holds back, another may know by another answer.
    held_back |= {plain(text) for mine in mines for text in mine.held_back()}
    mined = [pair for mine in mines for pair in mine.nearest_of_either(LEARNT, held_back)]
    texts = sorted({text for pair in (*pairs, *mined) for text in (pair.a, pair.b)})
    return [*pairs, *mined, *make(texts, made, rng)]


def mix(pairs: Sequence[Labelled], recipe: dict[str, float], rng: Random) -> list[Labelled]:
    """Take of each source as often as the recipe says: 2 is twice over, 0.5 is every second."""
    taken: list[Labelled] = []
    for pair in pairs:
        times = recipe.get(pair.source, 1.0)
        for _ in range(int(times) + (rng.random() < times % 1)):
            a, b = (pair.a, pair.b) if rng.random() < 0.5 else (pair.b, pair.a)
            taken.append(Labelled(a, b, pair.same, pair.source))
    rng.shuffle(taken)
    return taken


def encode(pairs: Sequence[Labelled], tokenizer: Tokenizer) -> list[Encoded]:
    """Tokenize, without what marks begin and end."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    firsts = tokenizer.encode_batch([pair.a for pair in pairs], add_special_tokens=False)
    seconds = tokenizer.encode_batch([pair.b for pair in pairs], add_special_tokens=False)
    return [
        Encoded(first.ids[:_SIDE], second.ids[:_SIDE], pair.same)
        for first, second, pair in zip(firsts, seconds, pairs, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast to learn: the rate at its highest, and the minutes after which to stop."""

    rate: float
    minutes: float


def learn(
    model: CrossEncoder, pairs: Sequence[Encoded], rng: Random, pace: Pace, out: Path
) -> None:
    """Go through the pairs once, the rate rising and falling, and save the weights."""
    # The words' vectors stay: most are never seen here, and half the work would be theirs.
    model.words.weight.requires_grad = False
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=pace.rate, weight_decay=_DECAY)
    steps = -(-len(pairs) // _BATCH)
    begin, shown = time.monotonic(), 0.0
    for step, batch in enumerate(_batches(pairs, rng)):
        done = max(step / steps, (time.monotonic() - begin) / (60 * pace.minutes))
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = pace.rate * min(done / _WARM + 0.01, (1 - done) / (1 - _WARM))
        labels = torch.tensor([1 - _DOUBT if pair.same else _DOUBT for pair in batch])
        loss = functional.binary_cross_entropy_with_logits(model(*collate(batch)), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        shown = 0.99 * shown + 0.01 * loss.item() if step else loss.item()
        if step % _SHOWN == 0:
            _logger.info("step %d of %d, loss %.3f", step, steps, shown)
            save(model, out)
    save(model, out)
    _logger.info("done after %.0f minutes", (time.monotonic() - begin) / 60)


def _batches(pairs: Sequence[Encoded], rng: Random) -> Iterator[Sequence[Encoded]]:
    for begin in range(0, len(pairs), _POOL * _BATCH):
        pool = sorted(
            pairs[begin : begin + _POOL * _BATCH], key=lambda p: len(p.first) + len(p.second)
        )
        batches = [pool[at : at + _BATCH] for at in range(0, len(pool), _BATCH)]
        rng.shuffle(batches)
        yield from batches


def collate(batch: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor]:
    """Give input_ids, token_type_ids and attention_mask of [CLS] first [SEP] second [SEP]."""
    rows = [([_CLS, *p.first, _SEP], [*p.second, _SEP]) for p in batch]
    length = max(len(first) + len(second) for first, second in rows)
    shape = (len(rows), length)
    input_ids, types, mask = (torch.zeros(shape, dtype=torch.int64) for _ in range(3))
    for at, (first, second) in enumerate(rows):
        end = len(first) + len(second)
        input_ids[at, :end] = torch.tensor([*first, *second])
        types[at, len(first) : end] = 1
        mask[at, :end] = 1
    return input_ids, types, mask


_CLS, _SEP = 101, 102  # of the BERT vocabularies

if __name__ == "__main__":
    main()
