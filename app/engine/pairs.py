"""Hits whose two answers were compared and that an operator should see; in memory, for a time.

These are the wrong hits with the smallest distances, and the hits whose comparison is open: it
shows neither that they were right nor that they were wrong.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from operator import attrgetter

from app.core.models import Clock
from app.core.one_line import one_line
from app.core.recent import Recent
from app.engine.until_purge import UntilPurge

_MOST = 10
_MOST_OPEN = 200
_LONGEST_OPEN = 2000  # characters of a question; pairs with longer ones are not kept
_SHOWN = 300  # characters of a text


def shown(text: str | None) -> str:
    """Return the first 300 characters of a text, as one line to show."""
    return one_line(text or "", _SHOWN)


@dataclass(frozen=True, slots=True)
class Pair:
    """A hit by meaning whose answer was compared: two questions, and the beginnings of two answers.

    `distance`: cosine. `probability`: the verifier's, None without one.
    `entry`: the id of the stored response.
    `asked_at`, `ends_at`: when it was asked, and when the entry ends (seconds since 1970).
    `is_served`: whether a client got the stored answer; otherwise it was held back.
    """

    distance: float
    probability: float | None
    entry: str
    asked_at: float
    ends_at: float
    is_served: bool
    asked: str = field(repr=False)
    stored: str = field(repr=False)
    answer: str = field(repr=False)
    upstreams_answer: str = field(repr=False)


class Pairs:
    """Keeps the wrong hits with the smallest distances, and the latest open ones.

    `epoch` returns the store's epoch. A hit is ignored if there was a purge since it was looked up.
    """

    def __init__(self, clock: Clock, epoch: Callable[[], str]) -> None:
        self._clock = clock
        self._wrong = UntilPurge[list[Pair]](list, epoch)
        self._open = UntilPurge(self._nothing, epoch)

    def note(self, pair: Pair, epoch: str) -> None:
        """Add a wrong hit, replacing one of the same question and entry.

        Its questions are shortened. `epoch` is the store's epoch at the look-up.
        """
        if (wrong := self._wrong.of(epoch)) is None:
            return
        pair = replace(pair, asked=shown(pair.asked), stored=shown(pair.stored))
        others = [p for p in self.all() if (p.entry, p.asked) != (pair.entry, pair.asked)]
        wrong[:] = sorted([*others, pair], key=attrgetter("distance"))[:_MOST]

    def note_open(self, pair: Pair, epoch: str) -> None:
        """Add an open hit: comparing shows neither that it was right nor that it was wrong.

        Its questions are kept whole, so that an operator can label the hit. It is ignored if a
        question has more than 2000 characters. `epoch` is the store's epoch at the look-up.
        """
        known = self._open.of(epoch)
        if known is not None and max(len(pair.asked), len(pair.stored)) <= _LONGEST_OPEN:
            known.keep((pair.entry, pair.asked), pair)

    def open(self) -> list[Pair]:
        """Return the open hits whose entry has not ended, the latest first."""
        now = self._clock()
        return [pair for pair in reversed(self._open.kept.values()) if pair.ends_at > now]

    def all(self) -> list[Pair]:
        """Return the wrong hits that are kept, the nearest first."""
        now = self._clock()
        return [pair for pair in self._wrong.kept if pair.ends_at > now]

    def forget(self, entries: Collection[str]) -> None:
        """Remove the hits of some entries."""
        wrong, known = self._wrong.kept, self._open.kept
        wrong[:] = [pair for pair in wrong if pair.entry not in entries]
        for pair in known.values():
            if pair.entry in entries:
                known.forget((pair.entry, pair.asked))

    def clear(self) -> None:
        """Remove all hits."""
        self._wrong.clear()
        self._open.clear()

    @staticmethod
    def _nothing() -> Recent[tuple[str, str], Pair]:
        return Recent(_MOST_OPEN)
