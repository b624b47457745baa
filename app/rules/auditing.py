"""Decides from the results of audits how strict hits by meaning must be (the level of caution).

A model may answer the same request differently each time. So an audit may find that even the
answer of an exact match is wrong. The rules therefore use the `excess` (`core/shares.py`) of the
share of wrong hits by meaning over the share of wrong exact matches.

Rules of this file: evidence can raise the level of caution, and lower it again. The lowest level is
0, at which hits are as strict as the operator asks.
"""

from dataclasses import dataclass, replace
from math import ceil, log2

from app.core.cache_status import Tier
from app.core.shares import excess, least_share, most_share
from app.rules.caution import EXACT_ONLY

_WINDOW = 2048  # the latest audits of each tier that count
_LENGTHS = (32, 64, 128, 256, 512, 1024, 2048)  # numbers of latest audits that are tested together
_STEP = 8  # audits between two tests
_DOUBT = 1e-7  # error probability of one bound in a test; 1e6 audits give 1e6 / 8 * 7 * 2 bounds
_ENOUGH = 100  # comparisons before a level can be lowered
_RECOVERED = 1.2815515655446004  # standard deviations: 90 % to one side

_BANDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)


def band_of(distance: float | None) -> str:
    """Return the name of the band (a range of distances) that contains `distance`.

    The name is the upper end of the band, such as `0.05`; empty if `distance` is None.
    """
    if distance is None:
        return ""
    return next((f"{most:g}" for most in _BANDS if distance <= most), "2")


@dataclass(frozen=True, slots=True)
class Window:
    """The results of the latest comparisons, one bit for each: 1 if an answer was wrong.

    `bits`: the results; the latest is bit 0. `length`: the number of results.
    """

    bits: int = 0
    length: int = 0

    def add(self, *, is_wrong: bool) -> "Window":
        """Return the window with one more result. A full window loses its oldest result."""
        bits = (self.bits << 1 | is_wrong) & ((1 << _WINDOW) - 1)
        return Window(bits, min(self.length + 1, _WINDOW))

    def wrong(self, latest: int = _WINDOW) -> int:
        """Return the number of wrong answers among the last `latest` results."""
        return (self.bits & ((1 << latest) - 1)).bit_count()


_NOTHING = Window()


@dataclass(frozen=True, slots=True)
class Evidence:
    """The level of caution, and the results of audits that can change it.

    `exact`: audits of exact matches. `served`: audits of hits by meaning that were served.
    `held`: comparisons of hits that caution holds back.
    `next`: comparisons of only those held hits that the next lower level would serve.
    `looks`: the number of audits of hits by meaning since the level was last tested.
    """

    level: int = 0
    exact: Window = _NOTHING
    served: Window = _NOTHING
    held: Window = _NOTHING
    next: Window = _NOTHING
    looks: int = 0

    def audited(self, tier: Tier, dial: float, *, is_wrong: bool) -> "Evidence":
        """Return the evidence after one more audit. The new level of caution may be higher.

        `tier`: how the audited hit was found. `is_wrong`: the audit showed that the hit's
        answer was wrong.
        """
        if tier is Tier.EXACT:
            return replace(self, exact=self.exact.add(is_wrong=is_wrong))
        known = replace(self, served=self.served.add(is_wrong=is_wrong), looks=self.looks + 1)
        if known.looks < _STEP or known.level >= EXACT_ONLY:
            return known
        worst = _surely_wrong(known)
        if worst <= dial:
            return replace(known, looks=0)
        steps = max(1, ceil(log2(worst / dial)))
        return Evidence(min(EXACT_ONLY, known.level + steps), known.exact)

    def kept_back(self, dial: float, *, is_wrong: bool, is_next: bool) -> "Evidence":
        """Return the evidence after the comparison of one more hit that was held back.

        The new level of caution may be one lower. `is_next`: the next lower level would serve the
        hit.
        """
        if not self.level:
            return self
        known = replace(self, held=self.held.add(is_wrong=is_wrong))
        if is_next:
            known = replace(known, next=self.next.add(is_wrong=is_wrong))
        if _is_within(known.next, known.exact, dial) or _is_within(known.held, known.exact, dial):
            return Evidence(known.level - 1, known.exact)
        return known


def suggested_dial(dial: float, low: float, high: float) -> float:
    """Return a lower dial if the share of wrong hits is above `dial`, else `dial`.

    `low` and `high` are the ends of the confidence interval of the share of wrong hits. If both are
    above `dial`, the verifier is less reliable for these questions than for those with which it was
    calibrated. The result is then about `dial * dial / middle`, where `middle` is the middle of the
    interval. With this lower dial, about the share `dial` of the hits would be wrong.

    If `low` is not above `dial`, the result is `dial`: only an operator may raise the dial.
    """
    if low <= dial:
        return dial
    return float(f"{dial * dial / ((low + high) / 2):.1g}")


def _surely_wrong(known: Evidence) -> float:
    """Return a lower bound of the excess of wrong hits by meaning over wrong exact matches.

    The bound is a share, from 0 to 1, like the `excess` in `core/shares.py`.
    """
    rate = most_share(known.exact.wrong(), known.exact.length, _DOUBT)
    if rate >= 1:
        return 0.0
    shares = [
        least_share(known.served.wrong(length), length, _DOUBT)
        for length in _LENGTHS
        if length <= known.served.length and known.served.wrong(length) > rate * length
    ]
    return max(0.0, (max(shares, default=0.0) - rate) / (1 - rate))


def _is_within(held: Window, exact: Window, dial: float) -> bool:
    """Whether the comparisons in `held` show that the share of wrong hits is at most `dial`.

    Only the share of wrong hits above the share of wrong exact matches counts. The result is False
    if there are too few comparisons.
    """
    if held.length < _ENOUGH:
        return False
    found = excess(held.wrong(), held.length, exact.wrong(), exact.length, _RECOVERED)
    return found is not None and found.high <= dial
