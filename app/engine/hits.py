"""Counts how often each entry has answered in this process, and at which distances.

The counts are not stored, so that an exact hit needs no write.
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
    """How often an entry has answered since it was stored, and the latest distances of hits.

    `exact` is how many of the hits were exact matches.
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
    """The counts of the entries that have answered recently."""

    def __init__(self) -> None:
        self._counts: Recent[str, HitCount] = Recent(_ENTRIES)

    def note(self, stored: StoredResponse, distance: float | None) -> None:
        """Count a hit of an entry; `distance` is None for an exact match."""
        count = self.of(stored)
        count.add(distance)
        self._counts.keep(stored.id, count)

    def forget(self, digests: Iterable[str]) -> None:
        """Remove the counts of some entries."""
        for digest in digests:
            self._counts.forget(digest)

    def of(self, stored: StoredResponse) -> HitCount:
        """Return the count of an entry; an empty one if the entry is not known or was replaced."""
        known = self._counts.get(stored.id)
        is_same = known is not None and known.stored_at == stored.stored_at
        return known if known and is_same else HitCount(stored.stored_at)
