"""Counts how often this process has served each entry, and keeps the latest hits' distances.

The counts are kept in memory only, so that an exact hit writes nothing to the store.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from app.core.models import StoredResponse
from app.core.recent import Recent

_ENTRIES = 10_000  # entries that are counted: those that answered most recently
_DISTANCES = 10


@dataclass(slots=True)
class HitCount:
    """The number of hits of an entry, and the distances of the latest hits by meaning.

    Only hits in this process are counted.

    `stored_at`: when the entry was stored, in seconds since 1970.
    `count`: the number of all hits. `exact`: the number of hits that were exact matches.
    """

    stored_at: float
    count: int = 0
    exact: int = 0
    _distances: deque[float] = field(default_factory=lambda: deque(maxlen=_DISTANCES))

    def add(self, distance: float | None) -> None:
        """Count a hit; `distance` is None for an exact match."""
        self.count += 1
        if distance is None:
            self.exact += 1
        else:
            self._distances.append(distance)

    @property
    def distances(self) -> Sequence[float]:
        """The cosine distances of the latest hits by meaning, the latest one last."""
        return list(self._distances)


class HitCounts:
    """The hit counts of the entries that were served most recently."""

    def __init__(self) -> None:
        self._counts: Recent[str, HitCount] = Recent(_ENTRIES)

    def note(self, stored: StoredResponse, distance: float | None) -> None:
        """Count a hit of an entry; `distance` is None for an exact match."""
        count = self.of(stored)
        count.add(distance)
        self._counts.keep(stored.id, count)

    def forget(self, digests: Iterable[str]) -> None:
        """Remove the counts of the entries with the ids in `digests`."""
        for digest in digests:
            self._counts.forget(digest)

    def of(self, stored: StoredResponse) -> HitCount:
        """Return the hit count of an entry.

        The hit count is zero if no hit is known, or if the known hits belong to an older entry
        with the same id.
        """
        known = self._counts.get(stored.id)
        is_same = known is not None and known.stored_at == stored.stored_at
        return known if known and is_same else HitCount(stored.stored_at)
