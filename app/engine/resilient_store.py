"""The store, called so that it can only help; what it answers has been checked."""

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
from app.core.ports import EmbeddingStore, WholeStore
from app.core.recent import Recent
from app.core.selectors import EVERYTHING, Selector
from app.engine.resilience import Budget, Dependency
from app.rules.sharing import askers_with

T = TypeVar("T")

_NEIGHBORS = 4  # more than one: the nearest may be refused
_WRITE_SECONDS = 2.0
_ADMIN_SECONDS = 30.0  # what an operator waits for
_CLOSING_SECONDS = 5.0
_IDS_KNOWN = 16_384


class Writes:
    """Writes under way, by what they write: those of one thing happen in order."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, names: Collection[str], write: Callable[[], Awaitable[None]]) -> None:
        """Begin a write, and return at once. Its failure is noted where it happens."""
        task = asyncio.ensure_future(self._run(write, self._of(names)))
        self._tasks.update(dict.fromkeys(names, task))
        task.add_done_callback(lambda done: self._forget(names, done))

    async def finished(self, names: Collection[str]) -> None:
        """Wait for the writes of some things."""
        if tasks := self._of(names):
            await asyncio.wait(tasks)

    async def drain(self) -> None:
        """Wait for all writes, within bounds."""
        if self._tasks:
            await asyncio.wait(set(self._tasks.values()), timeout=_CLOSING_SECONDS)

    async def _run(
        self, write: Callable[[], Awaitable[None]], previous: "set[asyncio.Task[None]]"
    ) -> None:
        if previous:
            await asyncio.wait(previous)  # the newer answer is to stay
        with suppress(DependencyUnavailable):
            await write()

    def _of(self, names: Collection[str]) -> "set[asyncio.Task[None]]":
        return {task for name in names if (task := self._tasks.get(name))}

    def _forget(self, names: Collection[str], task: "asyncio.Task[None]") -> None:
        for name in names:
            if self._tasks.get(name) is task:
                del self._tasks[name]


class ResilientStore:
    """A store whose answers have been checked: nobody is served another caller's entry.

    `neighbors` is how many of the nearest are looked at.
    """

    def __init__(
        self,
        store: WholeStore,
        metrics: Metrics,
        clock: Clock = time.monotonic,
        candidates: int = _NEIGHBORS,
    ) -> None:
        self._store = store
        self._neighbors = candidates
        # Apart, so that slow searches or a full disk do not keep exact hits from being served.
        self._reading, self._searching, self._writing, self._administering = (
            Dependency("store", "store-unavailable", metrics, clock) for _ in range(4)
        )
        self._exact_seconds = metrics.lookup_seconds.labels(Tier.EXACT.value)
        self._semantic_seconds = metrics.lookup_seconds.labels(Tier.SEMANTIC.value)
        self._stored = metrics.stored
        self._writes = Writes()
        self._by_upstream_id: Recent[str, str] = Recent(_IDS_KNOWN)

    @property
    def epoch(self) -> str:
        """The store's epoch, as far as is known."""
        return self._store.epoch

    @property
    def is_down(self) -> bool:
        """Whether a circuit breaker of the store is open, for whatever it does."""
        return any(part.is_down for part in (self._reading, self._searching, self._writing))

    async def get(self, key: CacheKey, budget: Budget) -> StoredResponse | None:
        """Return the response stored under the exact key.

        A write of that key which is under way is waited for: a client that has read its answer
        to the end and asks again on the same proxy, hits.
        """

        async def work() -> StoredResponse | None:
            await self._writes.finished([key.digest])
            stored = await self._store.get(key.digest)
            if stored is not None and (
                stored.key.digest != key.digest or stored.key.partition != key.partition
            ):
                raise ValueError("the store gave another entry")
            return stored

        return await self._reading.call(work, budget, self._exact_seconds)

    async def nearest(
        self,
        key: CacheKey,
        embedding: Embedding,
        max_distance: float,
        budget: Budget,
    ) -> Sequence[Candidate]:
        """Return the responses of the key's partition that are nearest to an embedding."""

        async def work() -> Sequence[Candidate]:
            candidates = await self._store.nearest(
                key.partition, embedding, self._neighbors, max_distance
            )
            if any(n.stored.key.partition != key.partition for n in candidates):
                raise ValueError("the store gave entries of another partition")
            return candidates

        return await self._searching.call(work, budget, self._semantic_seconds)

    def use(self, stored: StoredResponse) -> None:
        """Count an entry as used: it has answered."""
        try:
            self._store.use(stored.id)
        except Exception as error:  # noqa: BLE001 - the answer is on its way
            log_defect(error)

    def put(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Begin to store a response, and return at once."""

        async def write() -> None:
            await self._writing.call(
                lambda: self._store.put(stored, embedding), Budget(_WRITE_SECONDS)
            )
            self._stored.labels(stored.dialect).inc()

        if stored.upstream_id:
            self._by_upstream_id.keep(stored.upstream_id, stored.id)
        self._writes.begin([stored.id], write)

    def count_asker(self, stored: StoredResponse, asker: str, share_after: int) -> None:
        """Begin to note that one more credential has asked the very same, and return at once."""

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
        """Let an entry answer by meaning at once, or not; tell whether there is one."""
        await self._writes.finished([digest])
        return await self._administer(
            lambda: amended(self._store, digest, lambda now: replace(now, is_pinned=pinned))
        )

    def known_as(self, upstream_id: str) -> str | None:
        """Return the exact key of what was stored here lately under an id of the upstream's."""
        return self._by_upstream_id.get(upstream_id)

    async def written(self, digest: str) -> None:
        """Wait until a response that is being stored under a key is."""
        await self._writes.finished([digest])

    async def count(self, budget: Budget) -> Counts:
        """Return how much is stored."""
        return await self._reading.call(self._store.count, budget)

    async def facts(self, budget: Budget) -> Mapping[str, object]:
        """Return what there is to know of this kind of store."""
        return await self._reading.call(self._store.facts, budget)

    async def entry(self, digest: str) -> StoredResponse | None:
        """Return a stored response, for an operator."""
        return await self._administer(lambda: self._store.get(digest))

    async def delete(self, *digests: str) -> int:
        """Remove stored responses; return how many there were."""
        await self._writes.finished(digests)
        return await self._administer(lambda: self._store.delete(*digests))

    async def feedback(self, digest: str, *, correct: bool) -> Standing | None:
        """Apply feedback on an answer; return how far it is trusted now, None if not stored."""
        await self._writes.finished([digest])
        return await self._administer(lambda: judged(self._store, digest, correct=correct))

    async def restore(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Store a response and wait until that is done."""
        await self._writes.finished([stored.id])
        await self._administer(lambda: self._store.put(stored, embedding))

    async def scan(self, cursor: str, limit: int, selector: Selector = EVERYTHING) -> Page:
        """Return some stored responses."""
        return await self._administer(lambda: self._store.scan(cursor, limit, selector))

    async def embeddings_of(self, digests: Sequence[str]) -> Sequence[Embedding | None]:
        """Return the embeddings by which stored responses are found."""
        return await self._administer(lambda: self._store.embeddings_of(digests))

    async def scan_embeddings(
        self, cursor: str, limit: int, caller: str
    ) -> tuple[Sequence[str], str]:
        """Return the exact keys of some of a caller's embeddings."""
        return await self._administer(lambda: self._store.scan_embeddings(cursor, limit, caller))

    async def delete_embeddings(self, *digests: str) -> int:
        """Remove stored embeddings; tell how many there were."""
        return await self._administer(lambda: self._store.delete_embeddings(*digests))

    async def advance_epoch(self) -> None:
        """Let nothing be stored that was asked for before, what is being written included."""
        await self._administer(self._store.advance_epoch)
        await self._writes.drain()

    async def purge(self) -> int:
        """Remove everything; return how much there was."""
        return await self._administer(self._store.purge)

    async def aclose(self) -> None:
        """Finish what is being written, then close the store."""
        await self._writes.drain()
        await self._store.aclose()

    async def _administer(self, work: Callable[[], Awaitable[T]]) -> T:
        return await self._administering.call(work, Budget(_ADMIN_SECONDS))


async def amended(
    store: WholeStore, digest: str, change: Callable[[StoredResponse], StoredResponse]
) -> bool:
    """Change an entry; return whether there is one. Where others change it too, both count."""
    while (stored := await store.get(digest)) is not None:
        changed = change(stored)
        if changed == stored or await store.amend(stored, changed):
            return True
    return False


async def judged(store: WholeStore, digest: str, *, correct: bool) -> Standing | None:
    """Change how far an answer is trusted, after a caller's feedback; None if it is not stored.

    Two callers at once both count: if the entry has changed since it was read, it is read again.
    """
    while (stored := await store.get(digest)) is not None:
        standing = standing_after(is_disputed=stored.is_disputed, correct=correct)
        if await store.mark(stored, standing):
            return standing
    return None


class ResilientEmbeddingStore:
    """Calls a store of embeddings and checks what it returns; does not close that store."""

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
        """The store's epoch, as far as is known."""
        return self._store.epoch

    @property
    def is_down(self) -> bool:
        """Whether a circuit breaker of the store is open."""
        return self._reading.is_down or self._writing.is_down

    async def get(self, digests: Sequence[str], budget: Budget) -> Sequence[StoredEmbedding | None]:
        """Return the embedding stored under each exact key; writes under way are waited for."""

        async def work() -> Sequence[StoredEmbedding | None]:
            await self._writes.finished(digests)
            found = await self._store.get_embeddings(digests)
            if [e.id if e else digest for e, digest in zip(found, digests, strict=True)] != [
                *digests
            ]:
                raise ValueError("the store gave other embeddings")
            return found

        return await self._reading.call(work, budget, self._seconds)

    def put(self, embeddings: Sequence[StoredEmbedding]) -> None:
        """Begin to store embeddings, and return at once."""

        async def write() -> None:
            await self._writing.call(
                lambda: self._store.put_embeddings(embeddings), Budget(_WRITE_SECONDS)
            )
            self._stored.inc(len(embeddings))

        self._writes.begin([stored.id for stored in embeddings], write)

    async def aclose(self) -> None:
        """Finish what is being written."""
        await self._writes.drain()
