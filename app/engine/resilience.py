"""The cache's dependencies, called so that they can only help: store, embedder and verifier.

One may raise, hang or answer nonsense. Each call is bounded in time, checked and counted, and the
circuit breaker of one that keeps failing opens. All of it comes out as DependencyUnavailable.
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

_TEXTS_KNOWN = 4096  # 6 KiB each at 1,536 dimensions
_PAIRS_KNOWN = 16_384

_logger = logging.getLogger("reprise.cache")


class Observer(Protocol):
    """What takes durations: a histogram."""

    def observe(self, amount: float) -> None:
        """Take one duration, in seconds."""


@dataclass(slots=True)
class Budget:
    """The time that a dependency may still cost one request, in seconds.

    With `is_last`, when nothing else can answer, it is called though the circuit breaker is open.
    """

    seconds: float
    is_last: bool = False


class Dependency:
    """One part: its breaker, its counter, its log lines. `clock` never goes back."""

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
        """Do some work of the dependency, charge it to the budget and note its duration.

        Raises DependencyUnavailable, and nothing else.
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
            _logger.warning("the %s is back", self._name)
        return result

    def _failed(self, error: Exception) -> None:
        self._failures.inc()
        # Else its type alone: a message may carry a prompt or a key.
        told = str(error) if isinstance(error, DependencyFailed) else type(error).__name__
        _logger.warning("the %s failed: %s", self._name, told)
        if self._breaker.failed(self._clock()):
            _logger.error(
                "the %s keeps failing: requests go without it until it answers again", self._name
            )


class ResilientEmbedder:
    """An embedder whose vectors have been checked.

    With `as_caller` it is asked with the caller's credentials, and what it has embedded with some
    of them is remembered for these alone.
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
        """Return the unit embedding of a text; None where the model cannot represent it.

        A text that was embedded for the same partition lately is not embedded again, whether the
        embedder is down or not.
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
        """Forget what was embedded lately, whoever asked."""
        self._known.clear()

    def _checked(self, embedding: Embedding) -> Embedding:
        if embedding.shape != (self.dimensions,):
            raise ValueError("the embedding has another shape")
        norm = float(np.linalg.norm(embedding))
        if not np.isfinite(norm) or norm == 0.0:
            raise ValueError("the embedding has no direction")
        return np.asarray(embedding / norm, dtype=np.float32)

    async def aclose(self) -> None:
        """Close the embedder."""
        await self._embedder.aclose()


class ResilientVerifier:
    """A verifier whose probabilities have been checked; `timeout` is in seconds a question."""

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
        """Return for each candidate how likely its answer serves the question, from 0 to 1.

        What was verified for the same partition lately is not verified again, be the verifier down
        or not. Raises DependencyUnavailable.
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
            raise ValueError("not a probability for each candidate")
        return probabilities

    async def aclose(self) -> None:
        """Close the verifier."""
        await self._verifier.aclose()
