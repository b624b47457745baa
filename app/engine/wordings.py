"""Keeps the questions that entries have answered by meaning, to show them to an operator.

These questions are kept in the memory of this process. They are not in the store, so that a hit
needs no write.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from app.core.models import Clock, StoredResponse
from app.core.recent import Recent
from app.engine.pairs import shown
from app.engine.until_purge import UntilPurge
from app.rules.decisions import Serve

_MOST = 1000  # wordings of all entries together; each is cut to some hundred characters


@dataclass(frozen=True, slots=True)
class Wording:
    """A question that an entry has answered by meaning.

    `asked`: the beginning of the question.
    `count`: how often the entry has answered the question.
    `asked_at`: when the question was asked last (seconds since 1970).
    `distance`: the cosine distance from the stored question.
    `probability`: the latest probability from the verifier; None if there is no verifier.
    """

    asked_at: float
    distance: float
    probability: float | None
    count: int
    asked: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Known:
    """A wording, and the entry that has answered it.

    `entry`: the id of the entry.
    `stored_at`: when the entry was stored (seconds since 1970).
    """

    entry: str
    stored_at: float
    wording: Wording


class Wordings:
    """Keeps the latest wordings, at most a thousand in all. `epoch` returns the store's epoch."""

    def __init__(self, clock: Clock, epoch: Callable[[], str]) -> None:
        self._clock = clock
        self._known = UntilPurge[Recent[tuple[str, int], _Known]](lambda: Recent(_MOST), epoch)

    def note(self, asked: str, served: Serve) -> None:
        """Keep the question `asked` of a hit by meaning.

        If a purge came after the hit's look-up, do nothing.
        """
        if (noted := self._known.of(served.epoch)) is None:
            return
        stored, name = served.stored, hash(asked)
        known = noted.get((stored.id, name))
        is_same = known is not None and known.stored_at == stored.stored_at
        wording = Wording(
            asked_at=self._clock(),
            distance=served.status.distance or 0.0,
            probability=served.probability,
            count=1 + (known.wording.count if known and is_same else 0),
            asked=shown(asked),
        )
        noted.keep((stored.id, name), _Known(stored.id, stored.stored_at, wording))

    def of(self, stored: StoredResponse) -> list[Wording]:
        """Return the wordings that a stored response has answered, the latest first."""
        name = (stored.id, stored.stored_at)
        known = self._known.kept.values()
        return [k.wording for k in reversed(known) if (k.entry, k.stored_at) == name]

    def forget(self, entries: Collection[str]) -> None:
        """Forget the wordings that the entries with these ids have answered."""
        self._known.kept.forget_if(lambda known: known.entry in entries)

    def clear(self) -> None:
        """Forget all wordings."""
        self._known.clear()
