"""Chooses the candidate whose answer may serve a request with another wording."""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from app.core.calibration import Lengths, lengths_of
from app.core.metrics import Metrics
from app.core.models import Candidate, Guard, StoredText, Verdict
from app.core.offload import by_size
from app.engine.resilience import ResilientVerifier
from app.matching.guards.evidence import Evidence
from app.matching.guards.proofs import refusal, refusals
from app.matching.guards.reading import examine
from app.rules.limits import MOST_VERIFIED

_TEXTS_KNOWN = 4096
_PAIRS_KNOWN = 16_384
_TIMES = 50  # what the guards take for texts, compared with parsing them

_logger = logging.getLogger("reprise.cache")


@dataclass(frozen=True, slots=True)
class Choice:
    """The candidate that may serve, or None, and the verdicts that led to it.

    With a verifier, several candidates may pass; the likeliest of them is chosen.
    """

    chosen: Candidate | None
    verdicts: Sequence[Verdict]


class Guards:
    """Refuses candidates by cheap proofs, and remembers what it has judged lately.

    It remembers each partition separately, so that no caller learns from response times what other
    callers ask.
    """

    def __init__(self) -> None:
        @functools.lru_cache(_TEXTS_KNOWN)
        def evidence_of(_partition: str, text: str) -> Evidence:
            return examine(text)

        @functools.lru_cache(_PAIRS_KNOWN)
        def judge(partition: str, asked: str, stored: str) -> Guard | None:
            return refusal(evidence_of(partition, asked), evidence_of(partition, stored))

        self._judge: Callable[[str, str, str], Guard | None] = judge

    def verdicts(self, asked: str, candidates: Iterable[Candidate]) -> Iterator[Verdict]:
        """Judge candidates in order; those that have no text are left out."""
        for candidate in candidates:
            key = candidate.stored.key
            if key.text is not None:
                yield Verdict(candidate, self._judge(key.partition, asked, key.text))

    def all_refusing(self, asked: str, stored: str) -> Sequence[Guard]:
        """Return every guard that refuses; the first of them is the one that decides."""
        return refusals(examine(asked), examine(stored))


def _anything(_distance: float, _lengths: Lengths) -> float:
    return 1.0


class VerifierThreshold:
    """Refuses candidates to which the verifier does not give at least the probability `least`.

    `highest` returns the highest probability that the verifier gives at a cosine distance to texts
    of some lengths. If this probability is too low, the verifier is not called for the candidate,
    because one call takes longer than all other work for a miss.
    """

    def __init__(
        self,
        verifier: ResilientVerifier,
        least: float,
        highest: Callable[[float, Lengths], float] = _anything,
    ) -> None:
        self.verifier = verifier
        self.least = least
        self._highest = highest

    async def verdicts(
        self, asked: str, candidates: Sequence[Candidate], at_least: float = 0.0
    ) -> Sequence[Verdict]:
        """Judge the nearest candidates that may pass, up to three, in one call of the verifier.

        All candidates are of one partition, nearest first. To pass, a candidate needs the
        probability `least` or `at_least`, whichever is higher.

        Raises DependencyUnavailable.
        """
        least = max(self.least, at_least)
        near, told = [], []
        for candidate in candidates:
            if self._highest_of(asked, candidate) >= least:
                near.append(candidate)
            else:
                told.append(Verdict(candidate, "verifier"))
        if read := near[:MOST_VERIFIED]:
            texts = [StoredText(c.stored.key.text or "", c.distance) for c in read]
            found = await self.verifier.verify(read[0].stored.key.partition, asked, texts)
            told += [
                Verdict(candidate, None if probability >= least else "verifier", probability)
                for candidate, probability in zip(read, found, strict=True)
            ]
        return told

    def _highest_of(self, asked: str, candidate: Candidate) -> float:
        """Return the highest probability that a candidate can get; -1 without a text."""
        text = candidate.stored.key.text
        return -1.0 if text is None else self._highest(candidate.distance, lengths_of(asked, text))


class Matcher:
    """Chooses the candidate that answers. Without guards and verifier the nearest one does.

    Without metrics, refusals are not counted.
    """

    def __init__(
        self,
        metrics: Metrics | None,
        guards: Guards | None = None,
        threshold: VerifierThreshold | None = None,
    ) -> None:
        self.guards = guards
        self.threshold = threshold
        self._refusals = metrics.refusals if metrics else None

    @property
    def is_down(self) -> bool:
        """Whether the verifier's circuit breaker is open."""
        return self.threshold is not None and self.threshold.verifier.is_down

    @property
    def least(self) -> float | None:
        """The probability that the verifier must give at least; None without one."""
        return None if self.threshold is None else self.threshold.least

    async def choose(
        self, asked: str, candidates: Sequence[Candidate], at_least: float = 0.0
    ) -> Choice:
        """Choose among `candidates`, which are sorted nearest first.

        `at_least` is the same as in `VerifierThreshold.verdicts`.

        Raises DependencyUnavailable.
        """
        verdicts = await self._guarded(asked, candidates)
        left = [verdict.candidate for verdict in verdicts if verdict.refused_by is None]
        if self.threshold is None:
            self._count(verdicts)
            return Choice(next(iter(left), None), verdicts)
        refused = [verdict for verdict in verdicts if verdict.refused_by is not None]
        self._count(refused)
        verified = await self.threshold.verdicts(asked, left, at_least) if left else []
        self._count(verified)
        passed = [verdict for verdict in verified if verdict.refused_by is None]
        likeliest = max(passed, key=lambda verdict: verdict.probability or 0.0, default=None)
        return Choice(likeliest.candidate if likeliest else None, [*refused, *verified])

    async def _guarded(self, asked: str, candidates: Sequence[Candidate]) -> list[Verdict]:
        if self.guards is None:
            return [Verdict(candidate) for candidate in candidates]
        told = self.guards.verdicts(asked, candidates)
        size = len(asked) + sum(len(c.stored.key.text or "") for c in candidates)
        return await by_size(_TIMES * size, lambda: list(self._up_to_the_first(told)))

    def _up_to_the_first(self, verdicts: Iterator[Verdict]) -> Iterator[Verdict]:
        """Yield the verdicts; without a verifier, stop after the first candidate that passes."""
        for verdict in verdicts:
            yield verdict
            if self.threshold is None and verdict.refused_by is None:
                return

    def all_refusing(self, asked: str, stored: str) -> Sequence[Guard]:
        """Return every guard that refuses a text, the one that decides first."""
        return () if self.guards is None else self.guards.all_refusing(asked, stored)

    def _count(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            if verdict.refused_by is not None:
                if self._refusals:
                    self._refusals.labels(str(verdict.refused_by)).inc()
                _logger.debug(
                    "%s refuses entry %s, %.4f away (probability %s)",
                    verdict.refused_by,
                    verdict.candidate.stored.id,
                    verdict.candidate.distance,
                    verdict.probability,
                )

    async def aclose(self) -> None:
        """Close the verifier."""
        if self.threshold is not None:
            await self.threshold.verifier.aclose()
