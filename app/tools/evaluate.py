"""`reprise evaluate`: how well each stage distinguishes equal questions from different ones.

The stages are the distance, the distance with guards, the distance with the verifier, and all
three.
"""

import asyncio
import functools
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.core.errors import NotUnderstood
from app.core.models import CacheKey, ClientRequest, Embedding, Guard, StoredText
from app.core.ports import Embedder, Verifier
from app.dialects.chat_completions.request import ChatRequest
from app.matching.guards.evidence import Evidence
from app.matching.guards.proofs import refusals
from app.matching.guards.reading import examine
from app.rules.key import KeyRules, build_key
from app.tools.curves import Curve, curve
from app.tools.jsonl import Line, read_lines
from app.tools.memo import Memo
from app.tools.progress import Progress
from app.tools.statistics import Report, Row, Share, Table

_RULES = KeyRules(upstream="simulated://")
_GUARD_COLUMNS = ("guard", "fired", "rightly")
_COLUMNS = (
    "stage",
    "distance",
    "error_rate",
    "recall",
    "negatives_served",
    "wrong_among_served",
)


@dataclass(frozen=True, slots=True)
class Models:
    """The models to measure: an embedder, and a verifier if there is one."""

    embedder: Embedder
    verifier: Verifier | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """The thresholds to measure: greatest distances, and dials."""

    distances: Sequence[float]
    error_rates: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """A stored question, an asked question, and whether the two mean the same."""

    stored: CacheKey
    asked: CacheKey
    same: bool


@dataclass(frozen=True, slots=True)
class PairSet:
    """The pairs of one file."""

    file: str
    pairs: Sequence[Pair]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A pair with the results of each stage.

    `distance`: the cosine distance; infinite if the stored question can never answer the asked one.
    `guards`: the guards that refuse the pair.
    `probability`: the verifier's probability; 0 if the verifier was not asked, infinite for an
    exact match.
    """

    pair: Pair
    distance: float
    guards: Sequence[Guard] = ()
    probability: float = 0.0


@dataclass(frozen=True, slots=True)
class MayServe:
    """A rule for serving a stored answer.

    `distance`: the greatest cosine distance. `guarded`: whether guards may refuse the answer.
    `least`: the least probability that the verifier must give. `error_rate`: the dial to which
    `least` belongs; if None, the verifier is not asked.
    """

    stage: str
    distance: float
    guarded: bool = False
    least: float = 0.0
    error_rate: float | None = None

    def allows(self, comparison: Comparison) -> bool:
        """Whether the answer to the stored question may be served for the asked question."""
        if comparison.distance > self.distance or (self.guarded and comparison.guards):
            return False
        return comparison.probability >= self.least


def _rules(scale: Scale, verifier: Verifier | None) -> Iterator[MayServe]:
    for stage, guarded in (("distance", False), ("guards", True)):
        for distance in scale.distances:
            yield MayServe(stage, distance, guarded)
    if verifier is not None:
        known = verifier.calibration
        for stage, guarded in (("verifier", False), ("all", True)):
            for rate in scale.error_rates:
                yield MayServe(stage, known.max_distance, guarded, known.threshold(rate), rate)


def read_pairs(path: Path) -> PairSet:
    """Read labelled pairs, one per line: `{"a", "b", "same"}`.

    A question, `a` or `b`, is a text or a list of messages. Raises BadInput if the file cannot be
    read or a line is invalid.
    """
    pairs = [
        Pair(_key(line, "a"), _key(line, "b"), bool(_label(line))) for line in read_lines(path)
    ]
    return PairSet(str(path), pairs)


def _label(line: Line) -> object:
    label = line.document.get("same")
    return label if label in (0, 1) else line.refuse('"same" must be 0 or 1, false or true')


def _key(line: Line, name: str) -> CacheKey:
    try:
        return key_of(line.document.get(name))
    except NotUnderstood:
        line.refuse(f'"{name}" must be a text or a list of chat messages')


def key_of(question: object) -> CacheKey:
    """Return the proxy's key for a text or a list of messages. Raises NotUnderstood."""
    if isinstance(question, str):
        question = [{"role": "user", "content": question}]
    body = json.dumps({"model": "simulated", "messages": question}).encode()
    chat = ChatRequest.parse(body)
    return build_key(ClientRequest("POST", b"/chat/completions", b"", [], body), chat, _RULES)


def evaluate_pairs(
    pair_set: PairSet,
    scale: Scale,
    models: Models,
    progress: Progress,
    *,
    show: int = 0,
) -> Report:
    """Compare the pairs. Count for each stage and threshold how many pairs would share an answer.

    Guards are reported only for pairs within the greatest distance of `scale`. `show` is the
    greatest number of wrongly refused pairs to list.
    """
    comparisons = asyncio.run(_compare(pair_set, models, progress))
    positives = sum(pair.same for pair in pair_set.pairs)
    return Report(
        file=pair_set.file,
        counts={"pairs": len(comparisons), "positives": positives},
        figures=Table(
            _COLUMNS,
            [_row(comparisons, rule) for rule in _rules(scale, models.verifier)],
        ),
        guards=Table(_GUARD_COLUMNS, list(_guard_rows(comparisons, max(scale.distances)))),
        examples=list(itertools.islice(_wrong_refusals(comparisons, max(scale.distances)), show)),
        curves=list(_curves(comparisons, models.verifier)),
    )


def _curves(comparisons: Sequence[Comparison], verifier: Verifier | None) -> Iterator[Curve]:
    """Yield the curve of each stage over all possible thresholds."""
    positives = sum(comparison.pair.same for comparison in comparisons)
    unrefused = [comparison for comparison in comparisons if not comparison.guards]
    for stage, left in (("distance", comparisons), ("guards", unrefused)):
        ranked = [(c.distance, c.pair.same) for c in left if c.distance < math.inf]
        yield curve(stage, ranked, positives)
    if verifier is not None:
        for stage, left in (("verifier", comparisons), ("all", unrefused)):
            ranked = [(-c.probability, c.pair.same) for c in left if c.probability]
            yield curve(stage, ranked, positives)


def _guard_rows(comparisons: Sequence[Comparison], farthest: float) -> Iterator[Row]:
    for guard in Guard:
        fired = [c for c in comparisons if c.distance <= farthest and guard in c.guards]
        if fired:
            rightly = sum(not comparison.pair.same for comparison in fired)
            yield {
                "guard": guard.value,
                "fired": len(fired),
                "rightly": Share(rightly, len(fired)),
            }


def _wrong_refusals(comparisons: Sequence[Comparison], farthest: float) -> Iterator[str]:
    for comparison in comparisons:
        if comparison.pair.same and comparison.guards and comparison.distance <= farthest:
            guards = ", ".join(guard.value for guard in comparison.guards)
            texts = f"{comparison.pair.stored.text!r} / {comparison.pair.asked.text!r}"
            yield f"wrongly refused by {guards}, distance {comparison.distance:.4f}: {texts}"


def _row(comparisons: Sequence[Comparison], rule: MayServe) -> Row:
    served = [c.pair.same for c in comparisons if rule.allows(c)]
    right = sum(served)
    wrong = len(served) - right
    positives = sum(comparison.pair.same for comparison in comparisons)
    return {
        "stage": rule.stage,
        "distance": rule.distance,
        "error_rate": rule.error_rate,
        "recall": Share(right, positives),
        "negatives_served": Share(wrong, len(comparisons) - positives),
        "wrong_among_served": Share(wrong, len(served)),
    }


async def _compare(pair_set: PairSet, models: Models, progress: Progress) -> list[Comparison]:
    memo = Memo(models.embedder)
    keys = [key for pair in pair_set.pairs for key in (pair.stored, pair.asked)]
    texts = dict.fromkeys(key.text for key in keys if key.text is not None)
    with progress(pair_set.file, len(texts)) as advance:
        await memo.learn(texts, advance)
    examined = functools.cache(examine)
    comparisons = []
    for pair in pair_set.pairs:
        distance = await distance_of(pair, memo)
        probability = await _probability(pair, distance, models.verifier)
        comparisons.append(Comparison(pair, distance, guards_of(pair, examined), probability))
    return comparisons


async def _probability(pair: Pair, distance: float, verifier: Verifier | None) -> float:
    stored, asked = pair.stored, pair.asked
    if stored.digest == asked.digest:
        return math.inf  # an exact match is served whatever the least probability
    if verifier is None or stored.text is None or asked.text is None:
        return 0.0
    if distance > verifier.calibration.max_distance:
        return 0.0
    (probability,) = await verifier.verify(asked.text, [StoredText(stored.text, distance)])
    return probability


def guards_of(pair: Pair, examined: Callable[[str], Evidence]) -> Sequence[Guard]:
    """Return the guards that refuse a pair; `examined` returns the evidence of a text."""
    stored, asked = pair.stored, pair.asked
    if stored.digest == asked.digest or stored.text is None or asked.text is None:
        return ()
    return refusals(examined(stored.text), examined(asked.text))


async def distance_of(pair: Pair, embedder: Embedder) -> float:
    """Return a pair's cosine distance.

    The distance is infinite if the answer to `stored` can never be served for `asked`.
    """
    stored, asked = pair.stored, pair.asked
    if stored.digest == asked.digest:
        return 0.0
    if stored.partition != asked.partition or stored.text is None or asked.text is None:
        return math.inf
    one, other = await embedder.embed(stored.text), await embedder.embed(asked.text)
    return math.inf if one is None or other is None else _cosine_distance(one, other)


def _cosine_distance(one: Embedding, other: Embedding) -> float:
    return float(1.0 - (one / np.linalg.norm(one)) @ (other / np.linalg.norm(other)))
