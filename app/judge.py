"""What decides whether a neighbour's answer may serve a question that is not quite its own."""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from app.guards.evidence import Evidence
from app.guards.proofs import refusal, refusals
from app.guards.reading import examine
from app.metrics import Metrics
from app.models import Candidate, Guard, Neighbor
from app.parts import VerifierPart
from app.threads import by_size

_TEXTS_KNOWN = 4096
_PAIRS_KNOWN = 16_384
_TIMES = 50  # what the guards take for texts, compared with parsing them

_logger = logging.getLogger("reprise.cache")


@dataclass(frozen=True, slots=True)
class Opinion:
    """What is thought of a neighbour: who refuses it, and how likely its answer serves, 0 to 1."""

    neighbor: Neighbor
    refused_by: Guard | Literal["verifier"] | None = None
    probability: float | None = None


Note = Callable[[Opinion], None]
"""Takes an opinion as it is formed; the usual note counts refusals."""


class Guards:
    """Refuses neighbours by cheap proofs, and remembers what it has judged lately.

    It remembers for each partition apart, so that no caller learns from its speed what others ask.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._refusals = metrics.refusals

        @functools.lru_cache(_TEXTS_KNOWN)
        def evidence_of(_partition: str, text: str) -> Evidence:
            return examine(text)

        @functools.lru_cache(_PAIRS_KNOWN)
        def judge(partition: str, asked: str, stored: str) -> Guard | None:
            return refusal(evidence_of(partition, asked), evidence_of(partition, stored))

        self._judge: Callable[[str, str, str], Guard | None] = judge

    def passing(
        self, asked: str, neighbors: Iterable[Neighbor], note: Note | None = None
    ) -> Iterator[Neighbor]:
        """Give the neighbours that no guard refuses, in order."""
        note = note or self._count
        return (neighbor for neighbor in neighbors if self._passes(asked, neighbor, note))

    def all_refusing(self, asked: str, stored: str) -> Sequence[Guard]:
        """Give every guard that refuses; the first of them is the one that decides."""
        return refusals(examine(asked), examine(stored))

    def _passes(self, asked: str, neighbor: Neighbor, note: Note) -> bool:
        key = neighbor.stored.key
        if key.text is None:
            return False
        guard = self._judge(key.partition, asked, key.text)
        if guard is not None:
            note(Opinion(neighbor, guard))
        return guard is None

    def _count(self, opinion: Opinion) -> None:
        guard, neighbor = opinion.refused_by, opinion.neighbor
        self._refusals.labels(str(guard)).inc()
        _logger.debug(
            "%s refuses entry %s, %.4f away", guard, neighbor.stored.id, neighbor.distance
        )


class Bar:
    """Refuses neighbours that the verifier does not give `least`, a probability, at the least."""

    def __init__(self, verifier: VerifierPart, least: float, metrics: Metrics) -> None:
        self.verifier = verifier
        self.least = least
        self._refusals = metrics.refusals.labels("verifier")

    async def likeliest(
        self, asked: str, neighbors: Sequence[Neighbor], note: Note | None = None
    ) -> Neighbor | None:
        """Give the neighbour, of one partition, whose answer most likely serves, if likely enough.

        Raises PartUnavailable.
        """
        partition = next((neighbor.stored.key.partition for neighbor in neighbors), "")
        candidates = {
            Candidate(text, neighbor.distance): neighbor
            for neighbor in neighbors
            if (text := neighbor.stored.key.text) is not None
        }
        note = note or self._count
        told = await self.verifier.verify(partition, asked, list(candidates))
        chosen, most = None, self.least
        for neighbor, probability in zip(candidates.values(), told, strict=True):
            is_likely = probability >= self.least
            note(Opinion(neighbor, None if is_likely else "verifier", probability))
            if is_likely and (chosen is None or probability > most):
                chosen, most = neighbor, probability
        return chosen

    def _count(self, opinion: Opinion) -> None:
        if opinion.refused_by is not None:
            self._refusals.inc()
            _logger.debug(
                "the verifier refuses entry %s, %.4f away: %.4f",
                opinion.neighbor.stored.id,
                opinion.neighbor.distance,
                opinion.probability,
            )


@dataclass(frozen=True, slots=True)
class Judge:
    """Chooses the neighbour that answers. Without either the nearest does, as in the tutorial."""

    guards: Guards | None = None
    bar: Bar | None = None

    @property
    def is_down(self) -> bool:
        """Tell whether the verifier is being left alone."""
        return self.bar is not None and self.bar.verifier.is_down

    @property
    def least(self) -> float | None:
        """The probability that the verifier must give at the least; None without one."""
        return None if self.bar is None else self.bar.least

    async def choose(
        self, asked: str, neighbors: Sequence[Neighbor], note: Note | None = None
    ) -> Neighbor | None:
        """Give the neighbour, nearest first, whose answer may serve. Raises PartUnavailable.

        `note` is told of each neighbour that is judged, in place of the metrics and the log.
        """
        left = neighbors
        if self.guards is not None:
            passing = self.guards.passing(asked, neighbors, note)
            most = None if self.bar else 1  # without a verifier the nearest that passes answers
            size = len(asked) + sum(len(n.stored.key.text or "") for n in neighbors)
            left = await by_size(_TIMES * size, lambda: list(islice(passing, most)))
        if self.bar is None:
            return next(iter(left), None)
        return await self.bar.likeliest(asked, left, note)

    def all_refusing(self, asked: str, stored: str) -> Sequence[Guard]:
        """Give every guard that refuses a text, the one that decides first."""
        return () if self.guards is None else self.guards.all_refusing(asked, stored)

    async def aclose(self) -> None:
        """Close the verifier."""
        if self.bar is not None:
            await self.bar.verifier.aclose()
