"""What comparing served answers with the upstream's shows, and what follows from it.

Answers to the very same request differ from run to run, so exact hits are the control: what counts
is by how much hits by meaning are found wrong beyond them (`excess` in `core/shares.py`).

Rules of this file: evidence only ever makes stricter than the operator asks, or takes that back.
"""

from dataclasses import dataclass, replace
from math import ceil, log2

from app.core.cache_status import Tier
from app.core.shares import excess, least_share, most_share
from app.rules.caution import EXACT_ONLY

_WINDOW = 2048  # audits of each tier that count
_LENGTHS = (32, 64, 128, 256, 512, 1024, 2048)  # of the latest ones that are judged together
_STEP = 8  # audits between two looks
_DOUBT = 1e-7  # of one bound at one look; 1e6 audits a month make 1e6 / 8 * 7 * 2 bounds
_ENOUGH = 100  # comparisons before anything is taken back
_RECOVERED = 1.2815515655446004  # standard deviations: 90 % to one side

_BANDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)


def band_of(distance: float | None) -> str:
    """Return the band of a cosine distance, by its upper end; empty for an exact hit."""
    if distance is None:
        return ""
    return next((f"{most:g}" for most in _BANDS if distance <= most), "2")


@dataclass(frozen=True, slots=True)
class Window:
    """Which of the latest comparisons found a mistake: a bit each, the latest one lowest."""

    bits: int = 0
    length: int = 0

    def add(self, *, is_wrong: bool) -> "Window":
        """Return the window after one more; the oldest gives way."""
        bits = (self.bits << 1 | is_wrong) & ((1 << _WINDOW) - 1)
        return Window(bits, min(self.length + 1, _WINDOW))

    def wrong(self, latest: int = _WINDOW) -> int:
        """Return how many of the latest were wrong."""
        return (self.bits & ((1 << latest) - 1)).bit_count()


_NOTHING = Window()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known at a level of caution.

    `exact` and `served` are hits that were audited; `held` are those that caution keeps back, and
    `next` those of them that the next lower level would serve. `looks` counts audits by meaning
    since the last look.
    """

    level: int = 0
    exact: Window = _NOTHING
    served: Window = _NOTHING
    held: Window = _NOTHING
    next: Window = _NOTHING
    looks: int = 0

    def audited(self, tier: Tier, dial: float, *, is_wrong: bool) -> "Evidence":
        """Return what is known, and the level, after one more hit was audited."""
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
        """Return what is known, and the level, after one more that caution kept back was compared.

        `is_next`: the next lower level would serve it.
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
    """Return the share of wrong hits to ask for, so that about the present dial is kept.

    `low` and `high` are the interval of the share that was wrong at the present dial: where all of
    it is above, the verifier is so much less right here than where it was measured. Otherwise the
    dial stays as it is: only an operator makes it looser.
    """
    if low <= dial:
        return dial
    return float(f"{dial * dial / ((low + high) / 2):.1g}")


def _surely_wrong(known: Evidence) -> float:
    """Return the lower bound of the share that is wrong beyond the control's."""
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
    """Whether hits are shown to be wrong no more often than the dial allows."""
    if held.length < _ENOUGH:
        return False
    found = excess(held.wrong(), held.length, exact.wrong(), exact.length, _RECOVERED)
    return found is not None and found.high <= dial
