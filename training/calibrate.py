"""Calibrate an exported verifier on pairs held back: `python -m training.calibrate --help`."""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.calibration import Calibration
from app.embedders.local import LocalEmbedder
from app.figures import Share, table
from app.guards.proofs import refusal
from app.guards.reading import examine
from app.verifier import CrossEncoder
from training.mine import CALIBRATED, FAR, REPORTED, embed, open_mine
from training.pairs import Labelled, plain, read_pairs, split

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_RATES = (0.01, 0.02, 0.03, 0.05, 0.1)
_RIDGE = 1e-3
_ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Measured:
    """Pairs, one an entry: what is told of them and what is true.

    `open` are those that distance and guards leave open, `near` those that distance does.
    """

    source: Sequence[str]
    same: Flags
    logit: Floats
    distance: Floats
    near: Flags
    open: Flags


def main() -> None:
    """Read the command line, calibrate on one half of what is held back, report on the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, nargs="+", help="the pairs that training was given")
    parser.add_argument("--streams", type=Path, nargs="*", default=[], help="those as well")
    parser.add_argument("--model", type=Path, required=True, help="folder of model-int8.onnx")
    arguments = parser.parse_args()
    held_back = split(read_pairs(arguments.pairs))
    network = CrossEncoder(arguments.model)
    learnt = {plain(text) for pair in held_back.train for text in (pair.a, pair.b)}
    mined, others = (
        [p for path in arguments.streams for p in open_mine(path, share, learnt).candidates()]
        for share in (CALIBRATED, REPORTED)
    )
    # Pairs that were chosen to look alike say nothing of what a distance is worth in traffic.
    known = measure(mined or held_back.calibration, network)
    calibrations = {LocalEmbedder.name: fit(known), "any": fit(known, use_distance=False)}
    document = {name: asdict(calibration) for name, calibration in calibrations.items()}
    (arguments.model / "calibration.json").write_text(json.dumps(document, indent=2) + "\n")
    shown = measure([*held_back.report, *others], network)
    print(report(shown, calibrations[LocalEmbedder.name]))


def measure(pairs: Sequence[Labelled], network: CrossEncoder) -> Measured:
    """Ask the embedder, the guards and the network about pairs; what it cannot see is not open."""
    texts = sorted({text for pair in pairs for text in (pair.a, pair.b)})
    vectors = dict(zip(texts, asyncio.run(embed(texts)), strict=True))
    evidence = {text: examine(text) for text in texts}
    logits = [network.logit(pair.a, pair.b) for pair in pairs]
    distance = np.array([1.0 - float(vectors[p.a] @ vectors[p.b]) for p in pairs])
    near = (distance <= FAR) & np.array([logit is not None for logit in logits])
    passing = np.array([refusal(evidence[p.a], evidence[p.b]) is None for p in pairs])
    return Measured(
        source=[pair.source for pair in pairs],
        same=np.array([pair.same for pair in pairs]),
        logit=np.array([0.0 if logit is None else logit for logit in logits]),
        distance=distance,
        near=near,
        open=near & passing,
    )


def fit(known: Measured, *, use_distance: bool = True) -> Calibration:
    """Fit the probability on what is open, and find the line for each share of wrong hits."""
    columns = [np.ones_like(known.logit), known.logit, known.distance * use_distance]
    features = np.stack(columns, axis=1)[known.open]
    same, weights = known.same[known.open], _balance(known)[known.open]
    bias, logit, distance = _logistic(features, same.astype(float), weights)
    fitted = Calibration(float(bias), float(logit), float(distance), FAR, ())
    told = probabilities(known, fitted)[known.open]
    lines = [(rate, line) for rate in _RATES if (line := _line(told, same, weights, rate))]
    return Calibration(fitted.bias, fitted.logit, fitted.distance, FAR, lines)


def _balance(known: Measured) -> Floats:
    """Weigh pairs so that a set of a hundred times as many counts ten times as much."""
    sources = np.array(known.source)
    counts = {source: float((sources[known.open] == source).sum()) for source in set(sources)}
    return np.array([1 / np.sqrt(max(counts[source], 1.0)) for source in sources])


def _logistic(features: Floats, same: Floats, weights: Floats) -> Floats:
    """Fit by Newton's method, with a touch of ridge."""
    found = np.zeros(features.shape[1])
    weights = weights / weights.mean()
    for _ in range(_ROUNDS):
        told = 1 / (1 + np.exp(-features @ found))
        curvature = (features.T * (weights * told * (1 - told))) @ features
        slope = features.T @ (weights * (same - told)) - _RIDGE * found
        found = found + np.linalg.solve(curvature + _RIDGE * np.eye(len(found)), slope)
    return found


def probabilities(known: Measured, calibration: Calibration) -> Floats:
    """Tell how likely one answer serves each pair."""
    told = map(calibration.probability, known.logit, known.distance)
    return np.array(list(told))


def _line(told: Floats, same: Flags, weights: Floats, rate: float) -> float | None:
    """Give the least probability from which on no more than a share is wrong; None if none is.

    One wrong pair more than there are is counted: what was not seen may still happen.
    """
    order = np.argsort(-told)
    wrong = np.cumsum(weights[order] * ~same[order]) + weights.mean()
    share = wrong / (np.cumsum(weights[order]) + weights.mean())
    is_last = np.append(np.diff(told[order]) != 0, True)  # of those that are as likely
    kept = np.flatnonzero((share <= rate) & is_last)
    return float(told[order][kept[-1]]) if len(kept) else None


def report(known: Measured, calibration: Calibration) -> str:
    """Write a table of what each set loses and gains; shares with 95 % intervals."""
    told = probabilities(known, calibration)
    sources = np.array(known.source)
    every = np.ones_like(known.same)
    head = ["pairs", "number", "same", "distance at 1 %", "at 5 %", "verified at 1 %", "at 5 %"]
    head += [f"recall, wrong at {rate:g}" for rate, _ in calibration.thresholds]
    rows = []
    for source in sorted(set(known.source)):
        own = sources == source
        same = known.same[own]
        cells = [source, str(own.sum()), str(same.sum())]
        for ranked, may in ((-known.distance, every), (told, known.open)):
            cells += [f"{_recall(ranked[own], same, may[own], rate):.2f}" for rate in (0.01, 0.05)]
        for _, line in calibration.thresholds:
            served = (known.open & (told >= line))[own]
            right, wrong = int((served & same).sum()), int((served & ~same).sum())
            cells.append(f"{Share(right, int(same.sum()))}, {Share(wrong, right + wrong)}")
        rows.append(cells)
    return table(head, rows)


def _recall(ranked: Floats, same: Flags, may: Flags, rate: float) -> float:
    """Tell the greatest recall that any threshold gives with no more than a share wrong."""
    order = np.argsort(-ranked[may])
    right = np.cumsum(same[may][order])
    wrong = np.cumsum(~same[may][order])
    is_last = np.append(np.diff(ranked[may][order]) != 0, True)
    kept = right[(wrong <= rate * (right + wrong)) & is_last] if len(order) else right
    return float(kept.max(initial=0)) / max(int(same.sum()), 1)


if __name__ == "__main__":
    main()
