"""Calibrate an exported verifier on what is held back: `python -m training.calibrate --help`."""

import argparse
import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.core.calibration import Calibration, features
from app.inference.local_embedder import LocalEmbedder
from app.inference.verifier import CrossEncoder
from app.matching.guards.proofs import refusal
from app.matching.guards.reading import examine
from app.tools.statistics import Share, table
from training.mine import CALIBRATED, FAR, REPORTED, embed, open_mine
from training.pairs import Labelled, plain, read_pairs, split

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_RATES = (0.01, 0.02, 0.05, 0.1)
_TUTORIAL = 0.15  # cosine distance
_RIDGE = 1e-3
_FOUR_IN_FIVE = 0.8416212335729143  # standard deviations, one side of a normal distribution
_ROUNDS = 50


@dataclass(frozen=True, slots=True)
class Measured:
    """Pairs, one an entry: what is told of them and what is true.

    `asked` numbers the questions, which may have several candidates. `passing` are the pairs that
    no guard refuses, `open` those of them that are near enough and whole before the network.
    """

    source: NDArray[np.str_]
    asked: NDArray[np.int_]
    same: Flags
    logit: Floats
    distance: Floats
    passing: Flags
    open: Flags


@dataclass(frozen=True, slots=True)
class Told:
    """Pairs, how likely one answer serves each, and by share of wrong hits what would be served."""

    known: Measured
    told: Floats
    served: Mapping[float, Flags]


def main() -> None:
    """Read the command line, calibrate, and report what half of it does to the other half."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path, nargs="+", help="the pairs that training was given")
    parser.add_argument("--streams", type=Path, nargs="*", default=[], help="those as well")
    parser.add_argument("--model", type=Path, required=True, help="folder of model-int8.onnx")
    arguments = parser.parse_args()
    parts = split(read_pairs(arguments.pairs))
    network = CrossEncoder(arguments.model)
    learnt = {plain(text) for pair in parts.train for text in (pair.a, pair.b)}
    mines = [open_mine(path) for path in arguments.streams]
    pairs = [measure(part, network) for part in (parts.calibration, parts.report)]
    asked = [
        measure([pair for mine in mines for pair in mine.candidates(share, learnt)], network)
        for share in ((CALIBRATED, REPORTED) if mines else ())
    ]
    # Pairs that were chosen to look alike say nothing of what a distance is worth in traffic.
    halves = asked or pairs
    known = join(*halves)
    shipped = fit(known)
    document = {LocalEmbedder.name: asdict(shipped)}
    (arguments.model / "calibration.json").write_text(json.dumps(document, indent=2) + "\n")
    # What was calibrated on is not reported on: either half is told by a calibration on the other.
    first, second = map(fit, halves)
    print(reached(tell(pairs, [shipped, shipped] if asked else [second, first])))
    if asked:
        print(served(tell(asked, [second, first])))


def tell(parts: Sequence[Measured], calibrations: Sequence[Calibration]) -> Told:
    """Tell of each part by a calibration of its own, and put all together."""
    told = [probabilities(*both) for both in zip(parts, calibrations, strict=True)]
    serving: dict[float, Flags] = {}
    for rate in _RATES:
        least = [calibration.threshold(rate) for calibration in calibrations]
        serves = [
            part.open & (likely >= line)
            for part, likely, line in zip(parts, told, least, strict=True)
        ]
        serving[rate] = np.concatenate(serves)
    return Told(join(*parts), np.concatenate(told), serving)


def join(first: Measured, second: Measured) -> Measured:
    """Put two together; no question is in both."""
    both = {
        field.name: np.concatenate([getattr(first, field.name), getattr(second, field.name)])
        for field in fields(Measured)
    }
    both["asked"][len(first.asked) :] += len(first.asked)
    return Measured(**both)


def measure(pairs: Sequence[Labelled], network: CrossEncoder) -> Measured:
    """Ask the embedder, the guards and the network about pairs; what it cannot see is not open."""
    texts = sorted({text for pair in pairs for text in (pair.a, pair.b)})
    vectors = dict(zip(texts, asyncio.run(embed(texts)), strict=True))
    evidence = {text: examine(text) for text in texts}
    logits = [network.logit(pair.a, pair.b) for pair in pairs]
    distance = np.array([1.0 - float(vectors[p.a] @ vectors[p.b]) for p in pairs])
    near = (distance <= FAR) & np.array([logit is not None for logit in logits])
    passing = np.array([refusal(evidence[p.a], evidence[p.b]) is None for p in pairs])
    numbers = {key: at for at, key in enumerate(dict.fromkeys((p.source, p.a) for p in pairs))}
    return Measured(
        source=np.array([pair.source for pair in pairs]),
        asked=np.array([numbers[pair.source, pair.a] for pair in pairs]),
        same=np.array([pair.same for pair in pairs]),
        logit=np.array([0.0 if logit is None else logit for logit in logits]),
        distance=distance,
        passing=passing,
        open=near & passing,
    )


def fit(known: Measured) -> Calibration:
    """Fit the probability on what is open, and find the line for each share of wrong hits."""
    used = np.array(list(map(features, known.logit, known.distance)))
    weights = _balance(known)[known.open]
    found = _logistic(used[known.open], known.same[known.open].astype(float), weights)
    fitted = Calibration([float(weight) for weight in found], FAR, ())
    told = probabilities(known, fitted)
    hits = _likeliest(known, np.where(known.open, told, -np.inf))
    lines = [
        (rate, _line(told[hits], known.same[hits], known.source[hits], rate)) for rate in _RATES
    ]
    return Calibration(fitted.weights, FAR, lines)


def _balance(known: Measured) -> Floats:
    """Weigh pairs so that a set of a hundred times as many counts ten times as much."""
    counts = {source: int(((known.source == source) & known.open).sum()) for source in known.source}
    return np.array([1 / np.sqrt(max(counts[source], 1)) for source in known.source])


def _logistic(used: Floats, same: Floats, weights: Floats) -> Floats:
    """Fit by Newton's method, with a touch of ridge."""
    found = np.zeros(used.shape[1])
    weights = weights / weights.mean()
    for _ in range(_ROUNDS):
        told = 1 / (1 + np.exp(-used @ found))
        curvature = (used.T * (weights * told * (1 - told))) @ used
        slope = used.T @ (weights * (same - told)) - _RIDGE * found
        found = found + np.linalg.solve(curvature + _RIDGE * np.eye(len(found)), slope)
    return found


def probabilities(known: Measured, calibration: Calibration) -> Floats:
    """Tell how likely one answer serves each pair."""
    told = map(calibration.probability, known.logit, known.distance)
    return np.array(list(told))


def _likeliest(known: Measured, ranked: Floats) -> NDArray[np.int_]:
    """Choose the candidate of each question that ranks highest; none of an infinitely low rank."""
    left = np.flatnonzero(ranked > -np.inf)
    left = left[np.argsort(-ranked[left], kind="stable")]
    _, first = np.unique(known.asked[left], return_index=True)
    return left[first]


def _line(told: Floats, same: Flags, source: NDArray[np.str_], rate: float) -> float:
    """Give the least probability from which on no more than a share is wrong, by hardest source.

    All together keep the share, and none is shown, with a confidence of four in five, to have more:
    easy sources would hide a hard one, and the next kind of questions may be hard. A source in
    which nothing is right only counts among all.
    """
    owns = [source == name for name in set(source) if same[source == name].any()]
    hardest = [_line_of(told[own], same[own], rate, _shown) for own in owns]
    return max(_line_of(told, same, rate, _counted), *hardest)


def _counted(wrong: int, of: int) -> float:
    return wrong / of


def _shown(wrong: int, of: int) -> float:
    return Share(wrong, of).within(_FOUR_IN_FIVE)[0]


def _line_of(told: Floats, same: Flags, rate: float, share: Callable[[int, int], float]) -> float:
    order = np.argsort(-told)
    wrong = np.cumsum(~same[order]).tolist()
    is_last = np.append(np.diff(told[order]) != 0, True)  # of those that are as likely
    kept = [at for at in np.flatnonzero(is_last).tolist() if share(wrong[at], at + 1) <= rate]
    return float(told[order][kept[-1]]) if kept else float(np.nextafter(told.max(), 2.0))


def reached(pairs: Told) -> str:
    """Write the greatest recall at 1 % and 5 % wrong, and negatives served at each share."""
    known, near = pairs.known, pairs.known.distance <= FAR
    ranks = {
        "distance": (-known.distance, np.ones_like(near)),
        "guards": (-known.distance, known.passing),
        "verifier": (pairs.told, near),
        "all": (pairs.told, known.open),
    }
    rows = []
    for source in sorted(set(known.source)):
        own = known.source == source
        same = known.same[own]
        cells = [source, str(own.sum()), str(same.sum())]
        for ranked, may in ranks.values():
            reached = [_recall(ranked[own], same, may[own], rate) for rate in (0.01, 0.05)]
            cells.append(" ".join(f"{recall:.2f}" for recall in reached))
        wrong = (int((serves[own] & ~same).sum()) for serves in pairs.served.values())
        cells += [str(Share(count, int((~same).sum()))) for count in wrong]
        rows.append(cells)
    head = [f"{stage} at 1, 5 %" for stage in ranks]
    head += [f"negatives at {rate:g}" for rate in pairs.served]
    return table(["pairs", "number", "same", *head], rows)


def served(asked: Told) -> str:
    """Write the right hits per question that has a candidate, and the wrong among hits, by rule."""
    known = asked.known
    plain_rule = np.where(known.distance <= _TUTORIAL, -known.distance, -np.inf)
    rules = {
        "distance": plain_rule,
        "guards": np.where(known.passing, plain_rule, -np.inf),
        **{
            f"all at {rate:g}": np.where(serves, asked.told, -np.inf)
            for rate, serves in asked.served.items()
        },
    }
    rows = []
    for source in sorted(set(known.source)):
        own = known.source == source
        questions = len(set(known.asked[own]))
        cells = [source, str(questions)]
        for ranked in rules.values():
            same = known.same[_likeliest(known, np.where(own, ranked, -np.inf))]
            right = Share(int(same.sum()), questions)
            cells.append(
                f"{100 * (right.value or 0):.1f} %, {Share(int((~same).sum()), len(same))}"
            )
        rows.append(cells)
    return table(["stream", "questions", *(f"{rule}: right, wrong" for rule in rules)], rows)


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
