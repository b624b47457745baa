"""The most instructive wrong hits, for an operator to read; kept in memory for a limited time."""

from collections.abc import Collection
from dataclasses import dataclass, field
from operator import attrgetter

from app.core.models import Clock
from app.core.one_line import one_line

_MOST = 10
_SHOWN = 300  # characters of a text


def shown(text: str | None) -> str:
    """Return the beginning of a text as one line, to show."""
    return one_line(text or "", _SHOWN)


@dataclass(frozen=True, slots=True)
class Pair:
    """A wrong hit: two questions, and their two answers, which contradict each other.

    `distance`: cosine. `entry`: the id of the stored response.
    `asked_at`, `ends_at`: when it was asked, and until when it is kept (seconds since 1970).
    `is_served`: a client got the stored answer; otherwise it was held back.
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
    """Keeps the wrong hits with the smallest distances, which are the most instructive."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pairs: list[Pair] = []
        self._cleared_at = -1.0

    def note(self, pair: Pair) -> None:
        """Add a wrong hit, replacing one of the same question and entry.

        It is ignored if it was asked before the last `clear`.
        """
        if pair.asked_at <= self._cleared_at:
            return
        others = [p for p in self.all() if (p.entry, p.asked) != (pair.entry, pair.asked)]
        self._pairs = sorted([*others, pair], key=attrgetter("distance"))[:_MOST]

    def all(self) -> list[Pair]:
        """Return the wrong hits that are kept, the nearest first."""
        now = self._clock()
        return [pair for pair in self._pairs if pair.ends_at > now]

    def forget(self, entries: Collection[str]) -> None:
        """Remove the wrong hits of some entries."""
        self._pairs = [pair for pair in self._pairs if pair.entry not in entries]

    def clear(self) -> None:
        """Remove all, and ignore those that are still being compared."""
        self._pairs, self._cleared_at = [], self._clock()
