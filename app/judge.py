"""What decides whether a neighbour's answer may serve a question that is not quite its own."""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from app.guards.proofs import refusal
from app.guards.reading import examine
from app.metrics import Metrics
from app.models import Candidate, Guard, Neighbor
from app.parts import VerifierPart

_TEXTS_KNOWN = 4096
_PAIRS_KNOWN = 16_384

_logger = logging.getLogger("reprise.cache")


class Guards:
    """Refuses neighbours by cheap proofs, and remembers what it has judged lately."""

    def __init__(self, metrics: Metrics) -> None:
        self._refusals = metrics.refusals
        evidence_of = functools.lru_cache(_TEXTS_KNOWN)(examine)

        @functools.lru_cache(_PAIRS_KNOWN)
        def judge(asked: str, stored: str) -> Guard | None:
            return refusal(evidence_of(asked), evidence_of(stored))

        self._judge: Callable[[str, str], Guard | None] = judge

    def passing(self, asked: str, neighbors: Iterable[Neighbor]) -> Iterator[Neighbor]:
        """Give the neighbours that no guard refuses, in order."""
        return (neighbor for neighbor in neighbors if self._passes(asked, neighbor))

    def _passes(self, asked: str, neighbor: Neighbor) -> bool:
        stored = neighbor.stored.key.text
        if stored is None:
            return False
        guard = self._judge(asked, stored)
        if guard is not None:
            self._refusals.labels(guard.value).inc()
            _logger.debug(
                "%s refuses entry %s, %.4f away", guard, neighbor.stored.id, neighbor.distance
            )
        return guard is None


class Bar:
    """Refuses neighbours that the verifier does not give `least`, a probability, at the least."""

    def __init__(self, verifier: VerifierPart, least: float, metrics: Metrics) -> None:
        self.verifier = verifier
        self._least = least
        self._refusals = metrics.refusals.labels("verifier")

    async def likeliest(self, asked: str, neighbors: Iterable[Neighbor]) -> Neighbor | None:
        """Give the neighbour whose answer most likely serves, if that is likely enough.

        Raises PartUnavailable.
        """
        candidates = {
            Candidate(text, neighbor.distance): neighbor
            for neighbor in neighbors
            if (text := neighbor.stored.key.text) is not None
        }
        told = await self.verifier.verify(asked, list(candidates))
        chosen, most = None, self._least
        for neighbor, probability in zip(candidates.values(), told, strict=True):
            if probability < self._least:
                self._refusals.inc()
                _logger.debug(
                    "the verifier refuses entry %s, %.4f away: %.4f",
                    neighbor.stored.id,
                    neighbor.distance,
                    probability,
                )
            elif chosen is None or probability > most:
                chosen, most = neighbor, probability
        return chosen


@dataclass(frozen=True, slots=True)
class Judge:
    """Chooses the neighbour that answers. Without either the nearest does, as in the tutorial."""

    guards: Guards | None = None
    bar: Bar | None = None

    @property
    def is_down(self) -> bool:
        """Tell whether the verifier is being left alone."""
        return self.bar is not None and self.bar.verifier.is_down

    async def choose(self, asked: str, neighbors: Iterable[Neighbor]) -> Neighbor | None:
        """Give the neighbour, nearest first, whose answer may serve. Raises PartUnavailable."""
        left = neighbors if self.guards is None else self.guards.passing(asked, neighbors)
        if self.bar is None:
            return next(iter(left), None)
        return await self.bar.likeliest(asked, left)

    async def aclose(self) -> None:
        """Close the verifier."""
        if self.bar is not None:
            await self.bar.verifier.aclose()
