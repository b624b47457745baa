"""Keeps hits by meaning for an operator to review. They are kept in memory for a limited time.

The stored answer of each hit was compared with the upstream's answer. Two kinds of hits are kept:
wrong hits and open hits. For an open hit, the comparison shows neither "right" nor "wrong".
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
    """Return the first 300 characters of a text as one line, to be shown to an operator."""
    return one_line(text or "", _SHOWN)


@dataclass(frozen=True, slots=True)
class Pair:
    """A hit by meaning whose stored answer was compared with the upstream's answer.

    `distance`: the cosine distance of the two questions.
    `probability`: the probability that the verifier gave; None if there is no verifier.
    `entry`: the id of the stored response.
    `asked_at`: when the question was asked (seconds since 1970).
    `ends_at`: when the entry expires (seconds since 1970).
    `is_served`: whether a client got the stored answer. If False, the answer was held back.
    `asked`, `stored`: the question of the request, and the question of the stored response.
    `answer`, `upstreams_answer`: the beginnings of the stored answer and of the upstream's answer.
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
    """Keeps the wrong hits with the smallest distances, and the latest open hits.

    `epoch` returns the store's current epoch. A hit is ignored if a purge came after its look-up.
    """

    def __init__(self, clock: Clock, epoch: Callable[[], str]) -> None:
        self._clock = clock
        self._wrong = UntilPurge[list[Pair]](list, epoch)
        self._open = UntilPurge[Recent[tuple[str, str], Pair]](lambda: Recent(_MOST_OPEN), epoch)

    def note(self, pair: Pair, epoch: str) -> None:
        """Add a wrong hit. The new hit replaces an earlier one with the same question and entry.

        The questions of the hit are shortened. `epoch` is the store's epoch at the hit's look-up.
        """
        if (wrong := self._wrong.of(epoch)) is None:
            return
        pair = replace(pair, asked=shown(pair.asked), stored=shown(pair.stored))
        others = [p for p in self.all() if (p.entry, p.asked) != (pair.entry, pair.asked)]
        wrong[:] = sorted([*others, pair], key=attrgetter("distance"))[:_MOST]

    def note_open(self, pair: Pair, epoch: str) -> None:
        """Add an open hit: the comparison shows neither "right" nor "wrong".

        The two questions are not shortened, because an operator needs them to judge the hit. If
        one of the questions has more than 2000 characters, the hit is ignored. `epoch` is the
        store's epoch at the hit's look-up.
        """
        known = self._open.of(epoch)
        if known is not None and max(len(pair.asked), len(pair.stored)) <= _LONGEST_OPEN:
            known.keep((pair.entry, pair.asked), pair)

    def open(self) -> list[Pair]:
        """Return the open hits whose entries have not expired, the latest hit first."""
        now = self._clock()
        return [pair for pair in reversed(self._open.kept.values()) if pair.ends_at > now]

    def all(self) -> list[Pair]:
        """Return the wrong hits whose entries have not expired, the smallest distance first."""
        now = self._clock()
        return [pair for pair in self._wrong.kept if pair.ends_at > now]

    def forget(self, entries: Collection[str]) -> None:
        """Remove all hits on the entries with these ids."""
        wrong = self._wrong.kept
        wrong[:] = [pair for pair in wrong if pair.entry not in entries]
        self._open.kept.forget_if(lambda pair: pair.entry in entries)

    def clear(self) -> None:
        """Remove all hits."""
        self._wrong.clear()
        self._open.clear()
