"""Other wordings of a stored question that its entry has answered: for an operator, in memory only.

They are kept for this process alone and not stored, so that a hit needs no write.
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
    """The beginning of a question that an entry has answered by meaning.

    `count`: how often it was asked. The other values belong to its latest hit: `asked_at` (seconds
    since 1970), `distance` (cosine), and `probability` (None without a verifier).
    """

    asked_at: float
    distance: float
    probability: float | None
    count: int
    asked: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Known:
    """A wording, and the entry that has answered it: its id, and when it was stored."""

    entry: str
    stored_at: float
    name: int
    wording: Wording


class Wordings:
    """The wordings that entries have answered most recently; `epoch` returns the store's epoch."""

    def __init__(self, clock: Clock, epoch: Callable[[], str]) -> None:
        self._clock = clock
        self._known = UntilPurge(self._nothing, epoch)

    def note(self, asked: str, served: Serve) -> None:
        """Keep the question `asked` of a hit by meaning, unless a purge came after the look-up."""
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
        noted.keep((stored.id, name), _Known(stored.id, stored.stored_at, name, wording))

    def of(self, stored: StoredResponse) -> list[Wording]:
        """Return the wordings that an entry has answered since it was stored, the latest first."""
        name = (stored.id, stored.stored_at)
        known = self._known.kept.values()
        return [k.wording for k in reversed(known) if (k.entry, k.stored_at) == name]

    def forget(self, entries: Collection[str]) -> None:
        """Forget the wordings that some entries have answered."""
        noted = self._known.kept
        for known in noted.values():
            if known.entry in entries:
                noted.forget((known.entry, known.name))

    def clear(self) -> None:
        """Forget all wordings."""
        self._known.clear()

    @staticmethod
    def _nothing() -> Recent[tuple[str, int], _Known]:
        return Recent(_MOST)
