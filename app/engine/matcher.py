"""What decides whether a neighbour's answer may serve a question that is not quite its own."""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from app.core.metrics import Metrics
from app.core.models import Candidate, Guard, StoredText
from app.core.offload import by_size
from app.engine.resilience import ResilientVerifier
from app.matching.guards.evidence import Evidence
from app.matching.guards.proofs import refusal, refusals
from app.matching.guards.reading import examine

_TEXTS_KNOWN = 4096
_PAIRS_KNOWN = 16_384
_TIMES = 50  # what the guards take for texts, compared with parsing them

_logger = logging.getLogger("reprise.cache")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is thought of a neighbour: who refuses it, and how likely its answer serves, 0 to 1."""

    candidate: Candidate
    refused_by: Guard | Literal["verifier"] | None = None
    probability: float | None = None


Note = Callable[[Verdict], None]
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
        self, asked: str, candidates: Iterable[Candidate], note: Note | None = None
    ) -> Iterator[Candidate]:
        """Give the neighbours that no guard refuses, in order."""
        note = note or self._count
        return (candidate for candidate in candidates if self._passes(asked, candidate, note))

    def all_refusing(self, asked: str, stored: str) -> Sequence[Guard]:
        """Give every guard that refuses; the first of them is the one that decides."""
        return refusals(examine(asked), examine(stored))

    def _passes(self, asked: str, candidate: Candidate, note: Note) -> bool:
        key = candidate.stored.key
        if key.text is None:
            return False
        guard = self._judge(key.partition, asked, key.text)
        if guard is not None:
            note(Verdict(candidate, guard))
        return guard is None

    def _count(self, opinion: Verdict) -> None:
        guard, candidate = opinion.refused_by, opinion.candidate
        self._refusals.labels(str(guard)).inc()
        _logger.debug(
            "%s refuses entry %s, %.4f away", guard, candidate.stored.id, candidate.distance
        )


class VerifierThreshold:
    """Refuses neighbours that the verifier does not give `least`, a probability, at the least."""

    def __init__(self, verifier: ResilientVerifier, least: float, metrics: Metrics) -> None:
        self.verifier = verifier
        self.least = least
        self._refusals = metrics.refusals.labels("verifier")

    async def likeliest(
        self, asked: str, candidates: Sequence[Candidate], note: Note | None = None
    ) -> Candidate | None:
        """Give the neighbour, of one partition, whose answer most likely serves, if likely enough.

        Raises DependencyUnavailable.
        """
        partition = next((candidate.stored.key.partition for candidate in candidates), "")
        texts = {
            StoredText(text, candidate.distance): candidate
            for candidate in candidates
            if (text := candidate.stored.key.text) is not None
        }
        note = note or self._count
        told = await self.verifier.verify(partition, asked, list(texts))
        chosen, most = None, self.least
        for candidate, probability in zip(texts.values(), told, strict=True):
            is_likely = probability >= self.least
            note(Verdict(candidate, None if is_likely else "verifier", probability))
            if is_likely and (chosen is None or probability > most):
                chosen, most = candidate, probability
        return chosen

    def _count(self, opinion: Verdict) -> None:
        if opinion.refused_by is not None:
            self._refusals.inc()
            _logger.debug(
                "the verifier refuses entry %s, %.4f away: %.4f",
                opinion.candidate.stored.id,
                opinion.candidate.distance,
                opinion.probability,
            )


@dataclass(frozen=True, slots=True)
class Matcher:
    """Chooses the neighbour that answers. Without either the nearest does, as in the tutorial."""

    guards: Guards | None = None
    bar: VerifierThreshold | None = None

    @property
    def is_down(self) -> bool:
        """Tell whether the verifier is being left alone."""
        return self.bar is not None and self.bar.verifier.is_down

    @property
    def least(self) -> float | None:
        """The probability that the verifier must give at the least; None without one."""
        return None if self.bar is None else self.bar.least

    async def choose(
        self, asked: str, candidates: Sequence[Candidate], note: Note | None = None
    ) -> Candidate | None:
        """Give the neighbour, nearest first, whose answer may serve. Raises DependencyUnavailable.

        `note` is told of each neighbour that is judged, in place of the metrics and the log.
        """
        left = candidates
        if self.guards is not None:
            passing = self.guards.passing(asked, candidates, note)
            most = None if self.bar else 1  # without a verifier the nearest that passes answers
            size = len(asked) + sum(len(n.stored.key.text or "") for n in candidates)
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
