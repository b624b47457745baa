"""Calls the store, the embedder and the verifier. Their failures never prevent an answer.

Each of the three is called a dependency. A dependency may raise an exception, hang, or return an
invalid result. So each call has a timeout, the result is checked, and failures are counted. If a
dependency keeps failing, its circuit breaker opens. For every failure, the exception
DependencyUnavailable is raised, and no other exception.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from app.core.circuit_breaker import CircuitBreaker
from app.core.errors import Declined, DependencyFailed, DependencyUnavailable, Failure
from app.core.metrics import Metrics
from app.core.models import Clock, Embedding, Header, StoredText
from app.core.ports import Embedder, Verifier
from app.core.recent import Recent

T = TypeVar("T")

_TEXTS_KNOWN = 4096  # embeddings kept in memory; 6 KiB each at 1,536 dimensions
_PAIRS_KNOWN = 16_384  # probabilities kept in memory

_logger = logging.getLogger("reprise.cache")


class Observer(Protocol):
    """A recorder of durations, such as a Prometheus histogram."""

    def observe(self, amount: float) -> None:
        """Record the duration `amount`, in seconds."""


@dataclass(slots=True)
class Budget:
    """The time that a dependency may still take for one request, in seconds.

    If `is_last` is true, nothing else can answer the request. In this case, the dependency is
    called even while its circuit breaker is open.
    """

    seconds: float
    is_last: bool = False


class Dependency:
    """Calls one dependency through a circuit breaker. Counts and logs the dependency's failures.

    `clock` returns a monotonic time in seconds.
    """

    def __init__(self, name: str, detail: Failure, metrics: Metrics, clock: Clock) -> None:
        self._name = name
        self._detail = detail
        self._clock = clock
        self._failures = metrics.failures.labels(name)
        self._breaker = CircuitBreaker()

    @property
    def is_down(self) -> bool:
        """Whether the circuit breaker is open."""
        return self._breaker.is_open

    async def call(
        self, work: Callable[[], Awaitable[T]], budget: Budget, duration: Observer | None = None
    ) -> T:
        """Call `work` and return its result.

        The time that `work` takes is subtracted from the budget, and recorded by `duration`.

        Raises DependencyUnavailable if `work` fails or takes too long. If the budget is used up or
        the circuit breaker is open, raises DependencyUnavailable without calling `work`.
        """
        begin = self._clock()
        if budget.seconds <= 0 or not (self._breaker.allows(begin) or budget.is_last):
            raise DependencyUnavailable(self._detail)
        try:
            async with asyncio.timeout(budget.seconds):
                result = await work()
        except Declined as error:
            raise DependencyUnavailable(self._detail) from error
        except Exception as error:
            self._failed(error)
            raise DependencyUnavailable(self._detail) from error
        finally:
            elapsed = self._clock() - begin
            budget.seconds -= elapsed
            if duration is not None:
                duration.observe(elapsed)
        if self._breaker.succeeded():
            _logger.warning("the %s works again", self._name)
        return result

    def _failed(self, error: Exception) -> None:
        self._failures.inc()
        # Of other errors, only the type is logged: the message may contain a prompt or a key.
        told = str(error) if isinstance(error, DependencyFailed) else type(error).__name__
        _logger.warning("the %s failed: %s", self._name, told)
        if self._breaker.failed(self._clock()):
            _logger.error(
                "the %s keeps failing: requests are answered without it until it works again",
                self._name,
            )


class ResilientEmbedder:
    """Calls an embedder, checks its vectors, and caches them for each partition.

    If `as_caller` is true, the embedder gets the caller's credentials, and a cached vector is only
    returned to callers with the same credentials.
    """

    def __init__(
        self,
        embedder: Embedder,
        metrics: Metrics,
        clock: Clock = time.monotonic,
        *,
        as_caller: bool = False,
    ) -> None:
        self.name = embedder.name
        self.dimensions = embedder.dimensions
        self._embedder = embedder
        self._part = Dependency("embedder", "embedder-unavailable", metrics, clock)
        self._seconds = metrics.embedding_seconds
        self._as_caller = as_caller
        self._known: Recent[Hashable, Embedding] = Recent(_TEXTS_KNOWN)

    @property
    def is_down(self) -> bool:
        """Whether the embedder's circuit breaker is open."""
        return self._part.is_down

    async def embed(
        self, partition: str, text: str, budget: Budget, credentials: Sequence[Header] = ()
    ) -> Embedding | None:
        """Return the embedding of a text; None if the model cannot represent the text.

        If the text was embedded for the same partition recently, the cached embedding is returned,
        even if the embedder is down. Raises DependencyUnavailable if the embedder fails.
        """
        name = (partition, text, *(credentials if self._as_caller else ()))
        if (known := self._known.get(name)) is not None:
            return known

        async def work() -> Embedding | None:
            embedding = await self._embedder.embed(text, credentials)
            return None if embedding is None else self._checked(embedding)

        embedding = await self._part.call(work, budget, self._seconds)
        if embedding is not None:
            self._known.keep(name, embedding)
        return embedding

    def forget(self) -> None:
        """Remove all cached vectors."""
        self._known.clear()

    def _checked(self, embedding: Embedding) -> Embedding:
        if embedding.shape != (self.dimensions,):
            raise ValueError("the embedding has an unexpected shape")
        norm = float(np.linalg.norm(embedding))
        if not np.isfinite(norm) or norm == 0.0:
            raise ValueError("the embedding is zero or not finite")
        return np.asarray(embedding / norm, dtype=np.float32)

    async def aclose(self) -> None:
        """Close the embedder."""
        await self._embedder.aclose()


class ResilientVerifier:
    """Calls a verifier, checks its probabilities, and caches them for each partition.

    `timeout` is the limit, in seconds, for one call with a question and all candidates.
    """

    def __init__(
        self,
        verifier: Verifier,
        timeout: float,
        metrics: Metrics,
        clock: Clock = time.monotonic,
    ) -> None:
        self._verifier = verifier
        self._timeout = timeout
        self._part = Dependency("verifier", "verifier-unavailable", metrics, clock)
        self._seconds = metrics.verification_seconds
        self._known: Recent[tuple[str, str, StoredText], float] = Recent(_PAIRS_KNOWN)

    @property
    def is_down(self) -> bool:
        """Whether the verifier's circuit breaker is open."""
        return self._part.is_down

    async def verify(
        self, partition: str, asked: str, candidates: Sequence[StoredText]
    ) -> Sequence[float]:
        """Return for each candidate the probability (0 to 1) that its answer serves `asked`.

        `asked` is the question of a request. A probability that was computed recently for the same
        partition, question and candidate comes from a cache, even if the verifier is down. Raises
        DependencyUnavailable if the verifier fails.
        """
        told = {
            candidate: known
            for candidate in candidates
            if (known := self._known.get((partition, asked, candidate))) is not None
        }
        if unknown := [candidate for candidate in candidates if candidate not in told]:

            async def work() -> Sequence[float]:
                return self._checked(await self._verifier.verify(asked, unknown), len(unknown))

            found = await self._part.call(work, Budget(self._timeout), self._seconds)
            for candidate, probability in zip(unknown, found, strict=True):
                told[candidate] = probability
                self._known.keep((partition, asked, candidate), probability)
        return [told[candidate] for candidate in candidates]

    @staticmethod
    def _checked(probabilities: Sequence[float], count: int) -> Sequence[float]:
        if len(probabilities) != count or not all(0 <= p <= 1 for p in probabilities):
            raise ValueError("the verifier did not return a probability for each candidate")
        return probabilities

    async def aclose(self) -> None:
        """Close the verifier."""
        await self._verifier.aclose()
