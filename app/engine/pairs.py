"""The mistakes that tell most: for an operator to read, in memory, no longer than entries live."""

from collections.abc import Collection
from dataclasses import dataclass, field
from operator import attrgetter

from app.core.models import Clock

_MOST = 10
_SHOWN = 300  # characters of a text


def shown(text: str | None) -> str:
    """Return the beginning of a text, on one line."""
    whole = " ".join((text or "").split())
    return whole if len(whole) <= _SHOWN else whole[: _SHOWN - 1] + "…"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two questions that share an answer, and the answers that differ.

    Times are in seconds since 1970: it was asked for at `asked_at`, and is kept until `ends_at`.
    `is_served`: a client got the stored answer. `distance` is cosine.
    """

    distance: float
    entry: str
    asked_at: float
    ends_at: float
    is_served: bool
    asked: str = field(repr=False)
    stored: str = field(repr=False)
    answer: str = field(repr=False)
    upstreams_answer: str = field(repr=False)


class Pairs:
    """The nearest questions whose answers were found to differ: the nearer, the more they tell."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pairs: list[Pair] = []
        self._cleared_at = -1.0

    def note(self, pair: Pair) -> None:
        """Take note of a mistake; one of the same question and entry gives way.

        What was asked before all was forgotten stays forgotten.
        """
        if pair.asked_at <= self._cleared_at:
            return
        others = [p for p in self.all() if (p.entry, p.asked) != (pair.entry, pair.asked)]
        self._pairs = sorted([*others, pair], key=attrgetter("distance"))[:_MOST]

    def all(self) -> list[Pair]:
        """Return those that tell most, the nearest first."""
        now = self._clock()
        return [pair for pair in self._pairs if pair.ends_at > now]

    def forget(self, entries: Collection[str]) -> None:
        """Forget what was answered by some entries."""
        self._pairs = [pair for pair in self._pairs if pair.entry not in entries]

    def clear(self) -> None:
        """Forget everything, and what is under way."""
        self._pairs, self._cleared_at = [], self._clock()
