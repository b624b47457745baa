"""Calls the store and checks its results. A failure of the store never prevents an answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from app.core.cache_status import Tier
from app.core.defects import log_defect
from app.core.errors import DependencyUnavailable
from app.core.feedback import Standing, standing_after
from app.core.metrics import Metrics
from app.core.models import (
    CacheKey,
    Candidate,
    Clock,
    Counts,
    Embedding,
    Kind,
    Page,
    StoredEmbedding,
    StoredResponse,
)
from app.core.ports import EmbeddingStore, Keeping, WholeStore
from app.core.recent import Recent
from app.core.selectors import EVERYTHING, Selector
from app.engine.resilience import Budget, Dependency
from app.rules.limits import MOST_CANDIDATES
from app.rules.sharing import askers_with

T = TypeVar("T")

_WRITE_SECONDS = 2.0
_ADMIN_SECONDS = 30.0  # time limit of calls for operators
_CLOSING_SECONDS = 5.0
_IDS_KNOWN = 16_384


class Writes:
    """Runs writes in the background. Writes to the same key run one after the other."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, names: Collection[str], write: Callable[[], Awaitable[None]]) -> None:
        """Start a write to the keys `names`, and return at once. Ignore DependencyUnavailable."""
        task = asyncio.ensure_future(self._run(write, self._of(names)))
        self._tasks.update(dict.fromkeys(names, task))
        task.add_done_callback(lambda done: self._forget(names, done))

    async def finished(self, names: Collection[str], seconds: float | None = None) -> None:
        """Wait for the running writes to the keys `names`.

        The wait takes at most `seconds`. If `seconds` is None, there is no limit.
        """
        if tasks := self._of(names):
            await asyncio.wait(tasks, timeout=seconds)

    async def drain(self) -> None:
        """Wait for all running writes, for a limited time."""
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=_CLOSING_SECONDS)

    async def _run(
        self, write: Callable[[], Awaitable[None]], previous: "set[asyncio.Task[None]]"
    ) -> None:
        if previous:
            await asyncio.wait(previous)  # so that the newer answer stays
        with suppress(DependencyUnavailable):
            await write()

    def _of(self, names: Collection[str]) -> "set[asyncio.Task[None]]":
        return {task for name in names if (task := self._tasks.get(name))}

    def _forget(self, names: Collection[str], task: "asyncio.Task[None]") -> None:
        for name in names:
            if self._tasks.get(name) is task:
                del self._tasks[name]


class ResilientStore:
    """Calls a store and checks its results, so that nobody is served an entry of another partition.

    `candidates` is the greatest number of entries that `nearest` returns. If the store fails, every
    method that waits for a result of the store raises DependencyUnavailable.
    """

    def __init__(
        self,
        store: WholeStore,
        metrics: Metrics,
        clock: Clock = time.monotonic,
        candidates: int = MOST_CANDIDATES,
    ) -> None:
        self._store = store
        self._neighbors = candidates
        # Separate breakers, so that slow searches or a full disk do not prevent exact hits.
        parts = [Dependency("store", "store-unavailable", metrics, clock) for _ in range(5)]
        self._reading, self._searching, self._writing, self._administering, self._totalling = parts
        self._exact_seconds = metrics.lookup_seconds.labels(Tier.EXACT.value)
        self._semantic_seconds = metrics.lookup_seconds.labels(Tier.SEMANTIC.value)
        self._stored = metrics.stored
        self._writes = Writes()
        self._by_upstream_id: Recent[str, str] = Recent(_IDS_KNOWN)

    @property
    def epoch(self) -> str:
        """The latest epoch of the store that this process knows."""
        return self._store.epoch

    @property
    def is_down(self) -> bool:
        """Whether the circuit breaker for reading, searching or writing is open."""
        return any(part.is_down for part in (self._reading, self._searching, self._writing))

    async def get(self, key: CacheKey, budget: Budget) -> StoredResponse | None:
        """Return the response stored under the exact key, or None if there is none.

        A running write to that key is awaited first. So a client that has read an answer to the end
        and repeats the request gets a hit. The wait takes at most half of the budget, so that a
        slow write does not count as a failed read.
        """
        patience = budget.seconds / 2

        async def work() -> StoredResponse | None:
            await self._writes.finished([key.digest], patience)
            stored = await self._store.get(key.digest)
            if stored is not None and (
                stored.key.digest != key.digest or stored.key.partition != key.partition
            ):
                raise ValueError("the store returned another entry")
            return stored

        return await self._reading.call(work, budget, self._exact_seconds)

    async def nearest(
        self,
        key: CacheKey,
        embedding: Embedding,
        max_distance: float,
        budget: Budget,
    ) -> Sequence[Candidate]:
        """Return the stored responses of the key's partition that are nearest to `embedding`.

        `max_distance` is the greatest cosine distance of a response that is returned.
        """

        async def work() -> Sequence[Candidate]:
            candidates = await self._store.nearest(
                key.partition, embedding, self._neighbors, max_distance
            )
            if any(n.stored.key.partition != key.partition for n in candidates):
                raise ValueError("the store returned entries of another partition")
            return candidates

        return await self._searching.call(work, budget, self._semantic_seconds)

    def use(self, stored: StoredResponse) -> None:
        """Tell the store that the entry `stored` has answered a request."""
        try:
            self._store.use(stored.id)
        except Exception as error:  # noqa: BLE001 - it must not affect the answer
            log_defect(error)

    def put(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Start to store a response and return at once."""

        async def write() -> None:
            await self._writing.call(
                lambda: self._store.put(stored, embedding), Budget(_WRITE_SECONDS)
            )
            self._stored.labels(stored.dialect).inc()

        if stored.upstream_id:
            self._by_upstream_id.keep(stored.upstream_id, stored.id)
        self._writes.begin([stored.id], write)

    def count_asker(self, stored: StoredResponse, asker: str, share_after: int) -> None:
        """Start to add a caller to the askers of an entry, and return at once.

        When the entry has `share_after` askers, it may be served by meaning. No askers are added
        after that.
        """

        async def count() -> None:
            await self._writing.call(
                lambda: amended(
                    self._store,
                    stored.id,
                    lambda now: replace(now, askers=askers_with(now, asker, share_after)),
                ),
                Budget(_WRITE_SECONDS),
            )

        if askers_with(stored, asker, share_after) != stored.askers:
            self._writes.begin([stored.id], count)

    async def pin(self, digest: str, *, pinned: bool) -> bool:
        """Pin or unpin an entry; return whether there is an entry with the id `digest`."""
        await self._writes.finished([digest])
        return await self._administer(
            lambda: amended(self._store, digest, lambda now: replace(now, is_pinned=pinned))
        )

    def known_as(self, upstream_id: str) -> str | None:
        """Return the exact key of an answer, or None if this process did not store it recently.

        `upstream_id` is the id of the answer at the upstream.
        """
        return self._by_upstream_id.get(upstream_id)

    async def written(self, digest: str) -> None:
        """Wait for the running writes to the exact key `digest`."""
        await self._writes.finished([digest])

    async def count(self, budget: Budget) -> Counts:
        """Return how many answers and embeddings are stored."""
        return await self._reading.call(self._store.count, budget)

    async def refresh_epoch(self, budget: Budget) -> None:
        """Read the store's epoch, which other processes may have replaced."""
        await self._reading.call(self._store.refresh_epoch, budget)

    async def facts(self, budget: Budget) -> Mapping[str, object]:
        """Return facts to show to an operator about the store, as JSON values."""
        return await self._reading.call(self._store.facts, budget)

    @property
    def totals_last(self) -> Keeping:
        """The place where the store keeps sums: the process, a file, or a server of the fleet."""
        return self._store.totals_last

    async def add_totals(self, amounts: Mapping[str, int]) -> None:
        """Add each amount to the sum of the same name in the store."""
        await self._totalling.call(lambda: self._store.add_totals(amounts), Budget(_WRITE_SECONDS))

    async def totals(self) -> Mapping[str, int]:
        """Return all sums in the store by name."""
        return await self._totalling.call(self._store.totals, Budget(_WRITE_SECONDS))

    async def entry(self, digest: str) -> StoredResponse | None:
        """Return the response stored under an exact key, or None if there is none.

        This is for operators. The call may take longer than `get`.
        """
        return await self._administer(lambda: self._store.get(digest))

    async def delete(self, *digests: str) -> int:
        """Remove the responses stored under these exact keys; return how many were removed."""
        await self._writes.finished(digests)
        return await self._administer(lambda: self._store.delete(*digests))

    async def feedback(self, digest: str, *, correct: bool) -> Standing | None:
        """Apply a report that the answer of an entry is right (`correct`) or wrong.

        Return how far the entry is trusted from now on, or None if no entry has the id `digest`.
        """
        await self._writes.finished([digest])
        return await self._administer(lambda: judged(self._store, digest, correct=correct))

    async def restore(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Store a response and return after it is stored."""
        await self._writes.finished([stored.id])
        await self._administer(lambda: self._store.put(stored, embedding))

    async def scan(self, cursor: str, limit: int, selector: Selector = EVERYTHING) -> Page:
        """Return a page of stored responses; see `StoreOperations.scan`."""
        return await self._administer(lambda: self._store.scan(cursor, limit, selector))

    async def embeddings_of(self, digests: Sequence[str]) -> Sequence[Embedding | None]:
        """Return for each exact key in `digests`, in order, its question's embedding, or None."""
        return await self._administer(lambda: self._store.embeddings_of(digests))

    async def scan_embeddings(
        self, cursor: str, limit: int, caller: str
    ) -> tuple[Sequence[str], str]:
        """Look at about `limit` embeddings; return some of their exact keys, and the next cursor.

        Only the keys of embeddings that were fetched for `caller` are returned.
        """
        return await self._administer(lambda: self._store.scan_embeddings(cursor, limit, caller))

    async def delete_embeddings(self, *digests: str) -> int:
        """Remove the embeddings stored under these exact keys; return how many were removed."""
        return await self._administer(lambda: self._store.delete_embeddings(*digests))

    async def advance_epoch(self) -> None:
        """Begin a new epoch, so that answers requested before now are not stored.

        Then wait for the running writes, for a limited time.
        """
        await self._administer(self._store.advance_epoch)
        await self._writes.drain()

    async def purge(self) -> int:
        """Remove all entries; return how many were removed."""
        return await self._administer(self._store.purge)

    async def aclose(self) -> None:
        """Wait for the running writes, for a limited time, then close the store."""
        await self._writes.drain()
        await self._store.aclose()

    async def _administer(self, work: Callable[[], Awaitable[T]]) -> T:
        return await self._administering.call(work, Budget(_ADMIN_SECONDS))


async def amended(
    store: WholeStore, digest: str, change: Callable[[StoredResponse], StoredResponse]
) -> bool:
    """Apply `change` to an entry; return whether there is an entry with the id `digest`.

    If another writer changes the entry at the same time, the entry is read again, and `change` is
    applied to the new version.
    """
    while (stored := await store.get(digest)) is not None:
        changed = change(stored)
        if changed == stored or await store.amend(stored, changed):
            return True
    return False


async def judged(store: WholeStore, digest: str, *, correct: bool) -> Standing | None:
    """Apply a report that the answer of an entry is right (`correct`) or wrong.

    Return how far the entry is trusted from now on, or None if no entry has the id `digest`. If
    another writer changes the entry at the same time, the report is applied to the new version.
    So both of two simultaneous reports count.
    """
    while (stored := await store.get(digest)) is not None:
        standing = standing_after(is_disputed=stored.is_disputed, correct=correct)
        if await store.mark(stored, standing):
            return standing
    return None


class ResilientEmbeddingStore:
    """Calls a store of embeddings and checks its results. `aclose` does not close the store."""

    def __init__(
        self, store: EmbeddingStore, metrics: Metrics, clock: Clock = time.monotonic
    ) -> None:
        self._store = store
        self._reading, self._writing = (
            Dependency("store", "store-unavailable", metrics, clock) for _ in range(2)
        )
        self._seconds = metrics.lookup_seconds.labels(Tier.EXACT.value)
        self._stored = metrics.stored.labels(Kind.EMBEDDING.value)
        self._writes = Writes()

    @property
    def epoch(self) -> str:
        """The latest epoch of the store that this process knows."""
        return self._store.epoch

    @property
    def is_down(self) -> bool:
        """Whether the circuit breaker for reading or writing is open."""
        return self._reading.is_down or self._writing.is_down

    async def get(self, digests: Sequence[str], budget: Budget) -> Sequence[StoredEmbedding | None]:
        """Return for each exact key in `digests`, in order, the stored embedding, or None.

        Running writes to these keys are awaited first, for at most half of the budget.
        """
        patience = budget.seconds / 2

        async def work() -> Sequence[StoredEmbedding | None]:
            await self._writes.finished(digests, patience)
            found = await self._store.get_embeddings(digests)
            if [e.id if e else digest for e, digest in zip(found, digests, strict=True)] != [
                *digests
            ]:
                raise ValueError("the store returned other embeddings")
            return found

        return await self._reading.call(work, budget, self._seconds)

    def put(self, embeddings: Sequence[StoredEmbedding]) -> None:
        """Start to store embeddings and return at once."""

        async def write() -> None:
            await self._writing.call(
                lambda: self._store.put_embeddings(embeddings), Budget(_WRITE_SECONDS)
            )
            self._stored.inc(len(embeddings))

        self._writes.begin([stored.id for stored in embeddings], write)

    async def aclose(self) -> None:
        """Wait for the running writes, for a limited time."""
        await self._writes.drain()
