"""The store in memory, with exact nearest-neighbour search by numpy.

This store is the reference for the behaviour of the other stores.
"""

import secrets
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from app.core.callers import is_named
from app.core.epochs import next_turn
from app.core.feedback import Standing
from app.core.models import (
    Candidate,
    Clock,
    Counts,
    Embedding,
    Kind,
    Page,
    StoredEmbedding,
    StoredResponse,
)
from app.core.offload import Threads
from app.core.ports import Keeping
from app.core.selectors import EVERYTHING, Selector
from app.stores.memory.expiring import Expiring
from app.stores.memory.partition import Partition
from app.stores.memory.room import Room
from app.stores.memory.sizes import size_of, size_of_embedding, size_of_row

_SEARCHES_AT_ONCE = 2
_SEARCHES_WAITING = 16  # a search of 100,000 rows takes about 10 ms


class MemoryStore:
    """Keeps up to `max_entries` responses and up to `max_entries` embeddings in memory.

    Responses and embeddings together take up to `max_bytes`. If a limit is exceeded, the least
    recently used entries are evicted. `on_evict(kind, reason)` and `on_leave(kind, digest)` are
    called for each entry that is evicted, has expired or is too large to be kept. The `kind` that
    is passed to `on_evict` is the dialect of a response, or `embedding`. The reason is `expired`,
    `lru` (there were too many entries) or `bytes` (the entries took too much memory).
    """

    def __init__(
        self,
        max_entries: int,
        clock: Clock,
        on_evict: Callable[[str, str], None],
        on_leave: Callable[[Kind, str], None] = lambda _kind, _digest: None,
        max_bytes: int = sys.maxsize,
    ) -> None:
        self._room = Room(max_bytes)
        self._on_evict = on_evict
        self._on_leave = on_leave
        self._threads = Threads("search", _SEARCHES_AT_ONCE, _SEARCHES_WAITING)
        self._partitions: dict[str, Partition] = {}
        self._responses: Expiring[StoredResponse] = Expiring(
            max_entries, clock, self._response_evicted, self._forget, room=self._room
        )
        self._dialects = Counter[str]()  # responses by dialect, expired ones included
        self._embeddings: Expiring[StoredEmbedding] = Expiring(
            max_entries, clock, self._embedding_evicted, room=self._room
        )
        self._totals = Counter[str]()
        self.epoch = secrets.token_hex(8)

    async def get(self, digest: str) -> StoredResponse | None:
        """Return the response stored under the exact key `digest`, or None."""
        self._responses.expire()
        return self._responses.peek(digest)

    def use(self, digest: str) -> None:
        """Record that an entry has answered a request.

        The least recently used entries are evicted first.
        """
        self._responses.use(digest)

    async def nearest(
        self,
        partition: str,
        embedding: Embedding,
        k: int,
        max_distance: float,
    ) -> list[Candidate]:
        """Return up to `k` candidates within `max_distance` of `embedding`, nearest first.

        Only responses of `partition` are searched.
        """
        self._responses.expire()
        if (known := self._partitions.get(partition)) is None:
            return []
        return [
            Candidate(stored, distance)
            for digest, distance in await known.search(embedding, k, self._threads)
            if distance <= max_distance and (stored := self._responses.peek(digest))
        ]

    async def put(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Store a response, replacing any older one with the same exact key.

        If `embedding` is None, only exact matches find the response.
        """
        self.keep(stored, embedding)

    def keep(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Do the same as `put`, but synchronously."""
        self._responses.expire()
        if stored.epoch not in ("", self.epoch):
            return
        size = size_of(stored) + (0 if embedding is None else size_of_row(embedding))
        if not self._responses.put(stored.id, stored, stored.stored_at + stored.lifetime, size):
            return
        self._dialects[stored.dialect] += 1
        if embedding is not None:
            partition = self._partitions.get(stored.key.partition)
            if partition is None:
                partition = self._partitions[stored.key.partition] = Partition(len(embedding))
            partition.add(stored.id, embedding)

    async def delete(self, *digests: str) -> int:
        """Remove the responses with these exact keys; return how many were removed."""
        return sum(map(self._remove, digests))

    async def mark(self, stored: StoredResponse, standing: Standing) -> bool:
        """Set how far an entry is trusted, unless the entry has changed since `stored` was read.

        Return whether the entry was unchanged.
        """
        if standing is not Standing.REMOVED:
            disputed = standing is Standing.EXACT_ONLY
            return await self.amend(stored, replace(stored, is_disputed=disputed))
        if self.peek(stored.id) is not stored:
            return False
        self._responses.remove(stored.id)
        return True

    async def amend(self, stored: StoredResponse, amended: StoredResponse) -> bool:
        """Write `is_disputed`, `askers` and `is_pinned` of `amended` to an entry.

        If the entry has changed since `stored` was read, nothing is written. Return whether the
        entry was unchanged.
        """
        if self.peek(stored.id) is not stored:
            return False
        self._responses.amend(stored.id, amended, size_of(amended) - size_of(stored))
        return True

    async def scan(self, cursor: str, limit: int, selector: Selector = EVERYTHING) -> Page:
        """Read the next `limit` responses, oldest first. Return those that `selector` selects."""
        entries, following = self._responses.page(cursor, limit)
        if selector != EVERYTHING:
            entries = [stored for stored in entries if self._selects(selector, stored)]
        return Page(entries, following)

    async def embeddings_of(self, digests: Sequence[str]) -> list[Embedding | None]:
        """Return the embeddings of the questions with these exact keys, in the same order.

        An item is None if no embedding is stored for its key.
        """
        return [
            None if (stored := self.peek(digest)) is None else self._embedding_of(stored)
            for digest in digests
        ]

    async def refresh_epoch(self) -> None:
        """Do nothing, because no other process replaces the epoch."""

    async def advance_epoch(self) -> None:
        """Replace the epoch but keep the entries.

        An answer that was requested before this call will not be stored.
        """
        self.epoch = next_turn(self.epoch, secrets.token_hex(8))

    async def purge(self) -> int:
        """Remove all entries and replace the epoch. Return how many entries there were."""
        self.epoch = secrets.token_hex(8)
        self._partitions.clear()
        self._dialects.clear()
        return self._responses.clear() + self._embeddings.clear()

    async def get_embeddings(self, digests: Sequence[str]) -> list[StoredEmbedding | None]:
        """Return the stored embeddings with these exact keys, in the same order.

        An item is None if no embedding is stored under its key.
        """
        self._embeddings.expire()
        return [self._embeddings.use(digest) for digest in digests]

    async def put_embeddings(self, embeddings: Sequence[StoredEmbedding]) -> None:
        """Store embeddings, replacing older ones with the same exact keys."""
        self.keep_embeddings(embeddings)

    async def scan_embeddings(self, cursor: str, limit: int, caller: str) -> tuple[list[str], str]:
        """Look at the next `limit` embeddings.

        Return the exact keys of the embeddings that were fetched for `caller`, and the next cursor.
        The next cursor is empty after the last embedding.
        """
        page, following = self._embeddings.page(cursor, limit)
        return [stored.id for stored in page if is_named(stored.caller, caller)], following

    async def delete_embeddings(self, *digests: str) -> int:
        """Remove the embeddings with these exact keys; return how many were removed."""
        alive = [digest for digest in digests if self._embeddings.peek(digest) is not None]
        return sum(map(self._embeddings.remove, alive))

    def keep_embeddings(self, embeddings: Sequence[StoredEmbedding]) -> None:
        """Do the same as `put_embeddings`, but synchronously."""
        self._embeddings.expire()
        for stored in embeddings:
            if stored.epoch in ("", self.epoch):
                expires = stored.stored_at + stored.lifetime
                self._embeddings.put(stored.id, stored, expires, size_of_embedding(stored))

    def peek(self, digest: str) -> StoredResponse | None:
        """Return the response stored under the exact key `digest`, or None. No use is counted."""
        return self._responses.peek(digest)

    def holds(self, kind: Kind, digest: str) -> bool:
        """Whether there is an entry with this kind and exact key. No use is counted."""
        kept = self._embeddings if kind is Kind.EMBEDDING else self._responses
        return kept.peek(digest) is not None

    @property
    def held(self) -> int:
        """How many bytes of memory all entries take together."""
        return self._room.used

    async def count(self) -> Counts:
        """Return how many answers and embeddings are stored."""
        alive = Counter(self._dialects)
        alive.subtract(stored.dialect for stored in self._responses.overdue())
        return Counts(alive.total(), len(self._embeddings), +alive)

    async def facts(self) -> Mapping[str, object]:
        """Return an empty mapping, because only the store in Valkey has facts to report."""
        return {}

    @property
    def totals_last(self) -> Keeping:
        """Where sums are kept: always `process`. The sums are lost when the process ends."""
        return "process"

    async def add_totals(self, amounts: Mapping[str, int]) -> None:
        """Add each amount to the sum of the same name."""
        self.keep_totals(amounts)

    def keep_totals(self, amounts: Mapping[str, int]) -> None:
        """Do the same as `add_totals`, but synchronously."""
        self._totals.update(amounts)

    async def totals(self) -> Mapping[str, int]:
        """Return all sums by name."""
        return dict(self._totals)

    async def aclose(self) -> None:
        """Stop the threads that search. The entries stay in memory until the process ends."""
        self._threads.shutdown()

    def _remove(self, digest: str) -> bool:
        was_alive = self._responses.peek(digest) is not None
        return self._responses.remove(digest) and was_alive

    def _selects(self, selector: Selector, stored: StoredResponse) -> bool:
        embedding = self._embedding_of(stored) if selector.near else None
        named = (stored.model, stored.tagging, stored.upstream_id)
        return selector.selects(*named, embedding, stored.caller)

    def _embedding_of(self, stored: StoredResponse) -> Embedding | None:
        partition = self._partitions.get(stored.key.partition)
        return None if partition is None else partition.get(stored.id)

    def _response_evicted(self, digest: str, stored: StoredResponse, reason: str) -> None:
        self._on_evict(stored.dialect, reason)
        self._on_leave(Kind.ANSWER, digest)

    def _embedding_evicted(self, digest: str, _: StoredEmbedding, reason: str) -> None:
        self._on_evict(Kind.EMBEDDING.value, reason)
        self._on_leave(Kind.EMBEDDING, digest)

    def _forget(self, digest: str, stored: StoredResponse) -> None:
        self._dialects[stored.dialect] -= 1
        name = stored.key.partition
        if (partition := self._partitions.get(name)) is not None:
            partition.remove(digest)
            if not len(partition):
                del self._partitions[name]
