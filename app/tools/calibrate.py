"""Calibration: turns a verifier's scores into probabilities, and finds the line for each dial.

A *dial* is the share of hits that may be wrong. A *line* is the least probability that may be
served. A stream is replayed as the proxy would store it: a question that hits is not stored, so it
cannot answer later questions. A line is allowed for a dial if

- over all streams together, the share of wrong hits is at most the dial, judged by the upper end of
  its one-sided 95 % interval (Wilson's), and
- in no domain with at least fifty hits that share is above the dial, judged by the lower end of its
  one-sided 80 % interval.

Of the allowed lines, the one with the most right hits is chosen. If no line is allowed for a dial,
because there are too few hits, the dial is left out. Hits are counted as independent of each other,
although hits of one group are not quite independent.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from app.core.calibration import FEATURES, Calibration, Lengths, Scale, features, log_odds
from app.core.shares import wilson
from app.dialects.strict_json import JsonObject
from app.rules.limits import MOST_VERIFIED
from app.tools.statistics import table

RATES = (0.005, 0.01, 0.02, 0.05, 0.1)

_UPPER_95 = 1.6448536269514722  # standard deviations, for one side of a normal distribution
_LOWER_80 = 0.8416212335729143
_LINES = 250  # lines that are tried
_PARTS = 10  # parts of the domains for cross-validation
_HEAD = (
    "dial",
    "least probability",
    "right hits",
    "wrong hits",
    "at most",
    "right, wrong elsewhere",
)
_RIDGE = 1e-3
_ROUNDS = 50
_ENOUGH = 50  # hits of a domain; with fewer hits, a single wrong one proves nothing

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rated:
    """A candidate for a question: one of the nearest questions asked before it.

    `score`: the verifier's score; None if it must not answer, because a guard refuses it or the
    verifier cannot see it whole.
    `distance`: its cosine distance. `lengths`: the lengths of its text and of the question.
    `same`: whether its answer serves the question.
    `at`: its index in the stream, in which it is stored only if it missed; None if it is always
    stored.
    """

    score: float | None
    distance: float
    same: bool
    at: int | None = None
    lengths: Lengths = (0, 0)


@dataclass(frozen=True, slots=True)
class Asked:
    """The candidates and the domain name of one question in a sequence of questions."""

    candidates: Sequence[Rated]
    domain: str = ""


Stream = Sequence[Asked]
"""Questions in the order in which they are asked."""


@dataclass(frozen=True, slots=True)
class Line:
    """The line for a dial, and its hits.

    `rate`: the dial.
    `least`: the least probability; None if no line is allowed, and then there are 0 hits.
    `right`, `wrong`: the numbers of hits.
    `highest`: the upper end of the interval of the share of wrong hits.
    `elsewhere`: a cross-validation: right and wrong hits if each tenth of the domains is served by
    a line chosen from the other domains; None with fewer than two domains.
    """

    rate: float
    least: float | None
    right: float
    wrong: float
    highest: float
    elsewhere: tuple[float, float] | None = None

    def cells(self) -> Sequence[str]:
        """Return the cells of this line's row in a table."""
        told = "-" if self.elsewhere is None else "{:.0f}, {:.0f}".format(*self.elsewhere)
        if self.least is None:
            return [f"{self.rate:g}", *"----", told]
        counts = [f"{self.right:.0f}", f"{self.wrong:.0f}", f"{100 * self.highest:.2f} %"]
        return [f"{self.rate:g}", f"{self.least:.4f}", *counts, told]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration and its lines; `reachable` is how many questions have a right candidate."""

    calibration: Calibration
    lines: Sequence[Line]
    reachable: float

    def document(self) -> JsonObject:
        """Return all figures as JSON values."""
        lines = [asdict(line) for line in self.lines]
        far = self.calibration.max_distance
        return {"max_distance": far, "reachable": self.reachable, "lines": lines}

    def __str__(self) -> str:
        rows = [line.cells() for line in self.lines]
        drawn = table([*_HEAD], rows)
        far, reachable = self.calibration.max_distance, round(self.reachable)
        title = f"candidates up to {far:g} away, {reachable} questions have the right one\n"
        missing = [line.rate for line in self.lines if line.least is None]
        told = [
            f"\n{rate:g} takes {hits_needed(rate)} hits, none of them wrong" for rate in missing
        ]
        return title + drawn + "".join(told)


def calibrate(
    streams: Sequence[Stream],
    max_distance: float,
    *,
    rates: Sequence[float] = RATES,
    repeats: int = 1,
    sure: float | None = None,
) -> Calibrated:
    """Fit probabilities to scores, and choose the line for each of the dials `rates`.

    `repeats` is how often all streams together ask each question. Counts are divided by it, since
    repeating the same questions in another order gives no further evidence. `sure` is the greatest
    log-odds that count; by default the greatest that occur.
    """
    rated = [r for stream in streams for asked in stream for r in asked.candidates]
    scores = np.array([r.score for r in rated if r.score is not None])
    scale: Scale = "probability" if ((scores >= 0) & (scores <= 1)).all() else "logit"
    if sure is None:
        sure = max((log_odds(score, scale) for score in scores.tolist()), default=0.0)
    fitted = Calibration(_weights(rated, max_distance, scale, sure), max_distance, (), sure, scale)

    def told(candidate: Rated) -> float:
        if candidate.score is None:
            return 0.0
        return fitted.probability(candidate.score, candidate.distance, candidate.lengths)

    lines = draw_lines(streams, told, rates=rates, repeats=repeats)
    thresholds = [(line.rate, line.least) for line in lines if line.least is not None]
    reachable = sum(any(r.same for r in asked.candidates) for stream in streams for asked in stream)
    return Calibrated(replace(fitted, thresholds=thresholds), lines, reachable / repeats)


def _weights(
    rated: Sequence[Rated], max_distance: float, scale: Scale, sure: float
) -> Sequence[float]:
    """Return the weights of a logistic regression, by Newton's method with a small ridge."""
    seen = [r for r in rated if r.score is not None]
    used = np.array(
        [
            features(log_odds(r.score or 0.0, scale), r.distance, r.lengths, max_distance, sure)
            for r in seen
        ]
    )
    same = np.array([float(r.same) for r in seen])
    found = np.zeros(FEATURES)
    if not seen:
        return found.tolist()
    loss = _loss(used, same, found)
    for _ in range(_ROUNDS):
        told = 0.5 + 0.5 * np.tanh(used @ found / 2)
        curvature = (used.T * (told * (1 - told))) @ used + _RIDGE * np.eye(FEATURES)
        step = np.linalg.solve(curvature, used.T @ (same - told) - _RIDGE * found)
        # If the two classes are separable, a whole step may overshoot.
        while (after := _loss(used, same, found + step)) > loss and np.abs(step).max() > _RIDGE**2:
            step = step / 2
        if after >= loss:
            break
        found, loss = found + step, after
    return found.tolist()


def _loss(used: Floats, same: Floats, found: Floats) -> float:
    told = used @ found
    return float((np.logaddexp(0, told) - same * told).sum() + _RIDGE / 2 * found @ found)


def draw_lines(
    streams: Sequence[Stream],
    told: Callable[[Rated], float],
    *,
    rates: Sequence[float] = RATES,
    repeats: int = 1,
) -> Sequence[Line]:
    """Return the line for each dial, by rising dials.

    `told` returns a candidate's probability; a candidate with probability 0 never answers.
    """
    ranked = [[_ranked(asked, told) for asked in stream] for stream in streams]
    likeliest = [max(p for p, _, _ in order) for stream in ranked for _, order in stream if order]
    tried = _levels([p for p in likeliest if p > 0])
    levels = [(least, _replayed(ranked, least, repeats)) for least in tried]
    drawn: list[Line] = []
    for rate in sorted(rates):  # a greater dial must not get a higher line
        known = [line.least for line in drawn if line.least is not None]
        drawn.append(_line(levels, rate, min(known, default=math.inf)))
    domains = sorted({domain for _, hits in levels for domain in hits})
    if len(domains) > 1:
        parts = [set(domains[first::_PARTS]) for first in range(min(_PARTS, len(domains)))]
        drawn = [replace(line, elsewhere=_elsewhere(levels, line.rate, parts)) for line in drawn]
    return drawn


_Order = Sequence[tuple[float, bool, int | None]]
_Hits = Mapping[str, tuple[float, float]]
_Level = tuple[float, _Hits]


def _line(levels: Sequence[_Level], rate: float, highest: float = math.inf) -> Line:
    """Return the line with the most right hits among those allowed for a dial, up to `highest`.

    Among equals, the highest line is returned, since `levels` are sorted in falling order.
    """
    best = Line(rate, None, 0, 0, 1.0)
    for least, hits in levels:
        right, wrong = _sum(hits.values())
        at_most = wilson(wrong, right + wrong, _UPPER_95)[1]
        is_kept = at_most <= rate and not any(_is_worse(own, rate) for own in hits.values())
        if least <= highest and is_kept and right > best.right:
            best = Line(rate, least, right, wrong, at_most)
    return best


def _elsewhere(
    levels: Sequence[_Level], rate: float, parts: Sequence[Collection[str]]
) -> tuple[float, float]:
    """Return the numbers of right and wrong hits.

    Each of `parts`, a set of domains, is served by the line chosen from all other domains.
    """
    found = []
    for part in parts:
        others = [
            (least, {domain: hits[domain] for domain in hits if domain not in part})
            for least, hits in levels
        ]
        drawn = _line(others, rate).least
        found += [
            hits[domain]
            for least, hits in levels
            if least == drawn
            for domain in hits.keys() & part
        ]
    return _sum(found)


def _sum(hits: Iterable[tuple[float, float]]) -> tuple[float, float]:
    pairs = [*hits]
    return sum(right for right, _ in pairs), sum(wrong for _, wrong in pairs)


def _ranked(asked: Asked, told: Callable[[Rated], float]) -> tuple[str, _Order]:
    """Return a question's domain and its candidates as (probability, same, at), nearest first."""
    near = sorted(asked.candidates, key=lambda rated: rated.distance)
    return asked.domain, [(told(r), r.same, r.at) for r in near if r.score is not None]


def _levels(likeliest: Sequence[float]) -> Sequence[float]:
    """Return up to 250 probabilities to try as lines, in falling order.

    The ratio of the ranks of two neighbours is constant. So they are close where probabilities are
    high: the lines for small dials have few hits.
    """
    distinct = sorted(set(likeliest), reverse=True)
    if len(distinct) <= _LINES:
        return distinct
    places = np.geomspace(1, len(distinct), _LINES).round().astype(int) - 1
    return [distinct[place] for place in np.unique(places).tolist()]


def _replayed(streams: Sequence[Sequence[tuple[str, _Order]]], least: float, times: int) -> _Hits:
    """Return the numbers of right and wrong hits by domain at a line, divided by `times`."""
    hits: Counter[tuple[str, bool]] = Counter()
    for stream in streams:
        stored: list[bool] = []
        for domain, order in stream:
            # As the matcher does: the likeliest of the nearest few that are stored.
            present = ((p, same) for p, same, at in order if at is None or stored[at])
            read = itertools.islice(present, MOST_VERIFIED)
            likeliest = max(read, key=itemgetter(0), default=(0.0, False))
            is_right = likeliest[1] if likeliest[0] >= least else None
            stored.append(is_right is None)
            if is_right is not None:
                hits[domain, is_right] += 1
    domains = {domain for domain, _ in hits}
    return {d: (hits[d, True] / times, hits[d, False] / times) for d in domains}


def _is_worse(of: tuple[float, float], rate: float) -> bool:
    right, wrong = of
    hits = right + wrong
    return hits >= _ENOUGH and wilson(wrong, hits, _LOWER_80)[0] > rate


def hits_needed(rate: float) -> int:
    """Return how many hits without a wrong one are needed until a line is allowed for a dial."""
    return math.ceil(_UPPER_95**2 * (1 - rate) / rate)
