"""The parts of the cache, called so that they can only help.

A part may raise, hang or answer nonsense. Each call is bounded in time, checked and counted, and
a part that keeps failing is left alone for a while. All of it comes out as PartUnavailable.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from app.breaker import Breaker
from app.errors import Failure, Overloaded, PartUnavailable
from app.interfaces import Embedder, Store
from app.metrics import Metrics
from app.models import CacheKey, Clock, Embedding, Neighbor, StoredResponse, Tier

T = TypeVar("T")

_NEIGHBORS = 4  # more than one: the nearest may be stale
_WRITE_SECONDS = 2.0
_CLOSING_SECONDS = 5.0

_logger = logging.getLogger("reprise.cache")


class Observer(Protocol):
    """What takes durations: a histogram."""

    def observe(self, amount: float) -> None:
        """Take one duration, in seconds."""


@dataclass(slots=True)
class Budget:
    """The time that a part may still cost one request, in seconds."""

    seconds: float


class Part:
    """One part: its breaker, its counter, its log lines. `clock` never goes back."""

    def __init__(self, name: str, detail: Failure, metrics: Metrics, clock: Clock) -> None:
        self._name = name
        self._detail = detail
        self._clock = clock
        self._failures = metrics.failures.labels(name)
        self._breaker = Breaker()

    @property
    def is_down(self) -> bool:
        """Tell whether the part is being left alone."""
        return self._breaker.is_open

    async def call(
        self, work: Callable[[], Awaitable[T]], budget: Budget, duration: Observer | None = None
    ) -> T:
        """Do some work of the part, charge it to the budget and note its duration.

        Raises PartUnavailable, and nothing else.
        """
        begin = self._clock()
        if budget.seconds <= 0 or not self._breaker.allows(begin):
            raise PartUnavailable(self._detail)
        try:
            async with asyncio.timeout(budget.seconds):
                result = await work()
        except Overloaded as error:
            raise PartUnavailable(self._detail) from error
        except Exception as error:
            self._failed(error)
            raise PartUnavailable(self._detail) from error
        finally:
            elapsed = self._clock() - begin
            budget.seconds -= elapsed
            if duration is not None:
                duration.observe(elapsed)
        if self._breaker.succeeded():
            _logger.warning("the %s is back", self._name)
        return result

    def _failed(self, error: Exception) -> None:
        self._failures.inc()
        # Its type alone: a message may carry a prompt or a key.
        _logger.warning("the %s failed: %s", self._name, type(error).__name__)
        if self._breaker.failed(self._clock()):
            _logger.error("the %s keeps failing and is left alone for a while", self._name)


class StorePart:
    """A store whose answers have been checked: nobody is served another caller's entry."""

    def __init__(self, store: Store, metrics: Metrics, clock: Clock = time.monotonic) -> None:
        self._store = store
        # Apart, so that slow searches or a full disk do not keep exact hits from being served.
        self._reading, self._searching, self._writing = (
            Part("store", "store-unavailable", metrics, clock) for _ in range(3)
        )
        self._exact_seconds = metrics.lookup_seconds.labels(Tier.EXACT.value)
        self._semantic_seconds = metrics.lookup_seconds.labels(Tier.SEMANTIC.value)
        self._stored = metrics.stored
        self._writes: dict[str, asyncio.Task[None]] = {}

    @property
    def is_down(self) -> bool:
        """Tell whether the store is being left alone, in whatever it does."""
        return any(part.is_down for part in (self._reading, self._searching, self._writing))

    async def get(self, key: CacheKey, budget: Budget) -> StoredResponse | None:
        """Give the response stored under the exact key.

        A write of that key which is under way is waited for: a client that has read its answer
        to the end and asks again on the same proxy, hits.
        """

        async def work() -> StoredResponse | None:
            if write := self._writes.get(key.digest):
                await asyncio.wait({write})
            stored = await self._store.get(key.digest)
            if stored is not None and (
                stored.key.digest != key.digest or stored.key.partition != key.partition
            ):
                raise ValueError("the store gave another entry")
            return stored

        return await self._reading.call(work, budget, self._exact_seconds)

    async def nearest(
        self, key: CacheKey, embedding: Embedding, max_distance: float, budget: Budget
    ) -> Sequence[Neighbor]:
        """Give the responses of the key's partition that are nearest to an embedding."""

        async def work() -> Sequence[Neighbor]:
            neighbors = await self._store.nearest(
                key.partition, embedding, _NEIGHBORS, max_distance
            )
            if any(n.stored.key.partition != key.partition for n in neighbors):
                raise ValueError("the store gave entries of another partition")
            return neighbors

        return await self._searching.call(work, budget, self._semantic_seconds)

    def put(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Begin to store a response, and return at once."""
        previous = self._writes.get(stored.id)
        task = asyncio.ensure_future(self._write(stored, embedding, previous))
        self._writes[stored.id] = task
        task.add_done_callback(lambda done: self._forget(stored.id, done))

    async def count(self, budget: Budget) -> int:
        """Tell how many responses are stored."""
        return await self._reading.call(self._store.count, budget)

    async def aclose(self) -> None:
        """Finish what is being written, then close the store."""
        if self._writes:
            await asyncio.wait(set(self._writes.values()), timeout=_CLOSING_SECONDS)
        await self._store.aclose()

    async def _write(
        self,
        stored: StoredResponse,
        embedding: Embedding | None,
        previous: "asyncio.Task[None] | None",
    ) -> None:
        if previous is not None:
            await asyncio.wait({previous})  # the newer answer is to stay
        # A failure is counted and logged where it happens; the client has its answer.
        with suppress(PartUnavailable):
            await self._writing.call(
                lambda: self._store.put(stored, embedding), Budget(_WRITE_SECONDS)
            )
            self._stored.inc()

    def _forget(self, digest: str, task: "asyncio.Task[None]") -> None:
        if self._writes.get(digest) is task:
            del self._writes[digest]


class EmbedderPart:
    """An embedder whose vectors have been checked."""

    def __init__(self, embedder: Embedder, metrics: Metrics, clock: Clock = time.monotonic) -> None:
        self._embedder = embedder
        self._part = Part("embedder", "embedder-unavailable", metrics, clock)
        self._seconds = metrics.embedding_seconds

    @property
    def is_down(self) -> bool:
        """Tell whether the embedder is being left alone."""
        return self._part.is_down

    async def embed(self, text: str, budget: Budget) -> Embedding | None:
        """Embed a text, or give None where the model cannot represent it."""

        async def work() -> Embedding | None:
            embedding = await self._embedder.embed(text)
            return None if embedding is None else self._checked(embedding)

        return await self._part.call(work, budget, self._seconds)

    def _checked(self, embedding: Embedding) -> Embedding:
        if embedding.shape != (self._embedder.dimensions,):
            raise ValueError("the embedding has another shape")
        norm = float(np.linalg.norm(embedding))
        if not np.isfinite(norm) or norm == 0.0:
            raise ValueError("the embedding has no direction")
        return np.asarray(embedding / norm, dtype=np.float32)

    async def aclose(self) -> None:
        """Close the embedder."""
        await self._embedder.aclose()
