"""The embedded store: everything in process, KNN by numpy. The reference implementation."""

import heapq
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from app.models import Clock, Embedding, Neighbor, StoredResponse
from app.stores.partition import Partition
from app.threads import Threads

_SEARCHES_AT_ONCE = 2
_SEARCHES_WAITING = 16  # a search of 100,000 rows takes about 10 ms
_EXPIRED_AT_ONCE = 200  # entries that one call removes, so that no call takes long


@dataclass(slots=True)
class _Entry:
    stored: StoredResponse
    expires: float


class MemoryStore:
    """Keeps up to `max_entries` responses; the least recently used give way.

    `on_evict` is told why (`expired`, `lru`) whenever the store itself removes a response.
    """

    def __init__(self, max_entries: int, clock: Clock, on_evict: Callable[[str], None]) -> None:
        self._max_entries = max_entries
        self._clock = clock
        self._on_evict = on_evict
        self._threads = Threads("search", _SEARCHES_AT_ONCE, _SEARCHES_WAITING)
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # least recently used first
        self._partitions: dict[str, Partition] = {}
        self._due: dict[int, dict[str, None]] = {}  # digests by the second in which they expire
        self._seconds: list[int] = []  # a heap of those seconds

    async def get(self, digest: str) -> StoredResponse | None:
        """Give the response stored under an exact key, or None."""
        self._expire()
        return self._use(digest)

    async def nearest(
        self, partition: str, embedding: Embedding, k: int, max_distance: float
    ) -> list[Neighbor]:
        """Give up to `k` responses of a partition that are near enough, nearest first.

        Only the first counts as used.
        """
        self._expire()
        if (known := self._partitions.get(partition)) is None:
            return []
        now = self._clock()
        neighbors = [
            Neighbor(entry.stored, distance)
            for digest, distance in await known.search(embedding, k, self._threads)
            if distance <= max_distance
            and (entry := self._entries.get(digest))
            and entry.expires > now
        ]
        if neighbors:
            self._use(neighbors[0].stored.id)
        return neighbors

    async def put(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Store a response in place of an older one; without embedding, for exact matches only."""
        self._expire()
        self._remove(stored.id)
        expires = stored.stored_at + stored.freshness_lifetime
        self._entries[stored.id] = _Entry(stored, expires)
        self._expect(expires, stored.id)
        if embedding is not None:
            partition = self._partitions.get(stored.key.partition)
            if partition is None:
                partition = self._partitions[stored.key.partition] = Partition(len(embedding))
            partition.add(stored.id, embedding)
        while len(self._entries) > self._max_entries:
            self._remove(next(iter(self._entries)))
            self._on_evict("lru")

    async def delete(self, digest: str) -> bool:
        """Remove the response stored under an exact key; tell whether there was one."""
        return self._use(digest) is not None and self._remove(digest)

    async def count(self) -> int:
        """Tell how many responses are stored."""
        now = self._clock()
        return sum(entry.expires > now for entry in self._entries.values())

    async def aclose(self) -> None:
        """Let the threads go; what is in memory goes with the process."""
        self._threads.shutdown()

    def _use(self, digest: str) -> StoredResponse | None:
        entry = self._entries.get(digest)
        if entry is None or entry.expires <= self._clock():
            return None
        self._entries.move_to_end(digest)
        return entry.stored

    def _remove(self, digest: str) -> bool:
        if (entry := self._entries.pop(digest, None)) is None:
            return False
        self._due[math.ceil(entry.expires)].pop(digest, None)
        name = entry.stored.key.partition
        if (partition := self._partitions.get(name)) is not None:
            partition.remove(digest)
            if not len(partition):
                del self._partitions[name]
        return True

    def _expect(self, expires: float, digest: str) -> None:
        second = math.ceil(expires)
        if second not in self._due:
            self._due[second] = {}
            heapq.heappush(self._seconds, second)
        self._due[second][digest] = None

    def _expire(self) -> None:
        """Remove some of what has expired."""
        now = self._clock()
        room = _EXPIRED_AT_ONCE
        while room and self._seconds and self._seconds[0] <= now:
            due = self._due[self._seconds[0]]
            while due and room:
                self._remove(due.popitem()[0])
                self._on_evict("expired")
                room -= 1
            if not due:
                del self._due[heapq.heappop(self._seconds)]
