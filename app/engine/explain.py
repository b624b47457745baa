"""Why a request is answered as it is: the look-up of a real one, watched, and nothing kept of it.

Rules of this file: what decides is what decides for callers, `Proxy.understand` and
`Proxy.foresee`; here it is only told. No flight is begun or joined, nothing is stored, nothing is
sent to the upstream's chat completions, and no hit, miss or refusal is counted.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.core.errors import DependencyUnavailable, Failure, NotCached
from app.core.models import (
    BypassReason,
    CacheKey,
    CacheStatus,
    Candidate,
    ClientRequest,
    Clock,
    Guard,
    StoredResponse,
    Tier,
)
from app.core.selectors import EVERYTHING
from app.engine.handler import Handler, Plan
from app.engine.lookup import Watch
from app.engine.matcher import Matcher
from app.engine.operations import Operations
from app.rules.cacheability import Limits
from app.rules.freshness import may_answer, may_answer_stale
from app.rules.key_parts import CALLER, KeyParts, differences, parts_of

_PAGE, _PAGES = 250, 400  # of stored responses that are looked through for another partition
_SECONDS = 2.0  # that this may take

Obstacle = (
    Literal["tags", "usage", "disputed", "stale", "directives", "distance", "rank"]
    | Literal["verifier"]
    | Guard
)
"""Why a stored response does not answer: a token that README explains."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A stored response and why it does not answer; `refused_by` is what came first.

    `guards` are all that refuse it. `distance` and `probability` are None where there is none.
    """

    stored: StoredResponse
    answers: bool
    refused_by: Obstacle | None
    distance: float | None = None
    guards: Sequence[Guard] = ()
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A stored response of the same caller in another partition, and the parts that differ."""

    stored: StoredResponse
    differs: Sequence[str]


@dataclass(slots=True)
class Explanation:
    """What would be said of a request, and why; `status` is None if it would be refused.

    `bypass` says why it must not use the cache, and then there is no key. `exact_only` tells that
    it has no text that can be matched by meaning, `nearest` is None where nothing was searched
    for. `searched` stored responses were looked through for `elsewhere`; `searched_all`: all.
    """

    status: CacheStatus | None
    now: float
    bypass: BypassReason | None = None
    key: CacheKey | None = None
    exact_only: bool = False
    parts: KeyParts = field(default_factory=dict)
    exact: Judged | None = None
    nearest: Sequence[Judged] | None = None
    elsewhere: Elsewhere | None = None
    searched: int = 0
    searched_all: bool = False
    failures: set[Failure] = field(default_factory=set)


class Explainer:
    """Tells how a chat completion request would be answered now."""

    def __init__(
        self, proxy: Handler, operations: Operations, judge: Matcher, limits: Limits, clock: Clock
    ) -> None:
        self._proxy = proxy
        self._curator = operations
        self._judge = judge
        self._clock = clock
        self.limits = limits

    @property
    def least(self) -> float | None:
        """The probability that the verifier must give at the least; None without one."""
        return self._judge.least

    async def explain(self, request: ClientRequest, body: bytes | None) -> Explanation:
        """Explain a request; None in place of a body that is too large to be read."""
        watch = Watch()
        question: Plan | BypassReason = "body-too-large"
        if body is not None:
            question = await self._proxy.understand(request, body, watch)
        try:
            status = await self._proxy.foresee(request, question)
        except NotCached:
            status = None
        if not isinstance(question, Plan):
            return Explanation(status, self._clock(), bypass=question)
        return await self._explained(question, watch, status)

    async def _explained(
        self, question: Plan, watch: Watch, status: CacheStatus | None
    ) -> Explanation:
        first = last = question.lookup
        if watch.nearest is None and first.failure is None:
            # What is near is of interest also where an exact match answers, or nothing may.
            last = await self._proxy.look_around(question)
        told = Explanation(
            status,
            self._clock(),
            key=first.key,
            exact_only=last.embedding is None and last.failure is None,
            parts=await self._proxy.parts(question),
            failures={lookup.failure for lookup in (first, last) if lookup.failure},
        )
        if watch.exact is not None:
            told.exact = self._exact(watch.exact, question, told)
        if watch.nearest is not None:
            told.nearest = list(self._judged(watch, question, told))
        try:
            async with asyncio.timeout(_SECONDS):
                await self._look_elsewhere(told)
        except DependencyUnavailable as unavailable:
            told.failures.add(unavailable.detail)
        except TimeoutError:
            pass  # what has been found is told, and that it was not all
        return told

    def _exact(self, stored: StoredResponse, question: Plan, told: Explanation) -> Judged:
        answers = _answers(stored, told.status, Tier.EXACT)
        return Judged(stored, answers, None if answers else self._unfit(stored, question, told.now))

    def _judged(self, watch: Watch, question: Plan, told: Explanation) -> Iterator[Judged]:
        opinions = {opinion.candidate.stored.id: opinion for opinion in watch.opinions}
        candidates = {candidate.stored.id for candidate in watch.candidates}
        asked = question.lookup.key.text or ""
        for candidate in watch.nearest or ():
            stored = candidate.stored
            guards = self._judge.all_refusing(asked, stored.key.text or "")
            opinion = opinions.get(stored.id)
            refused_by: Obstacle | None
            if stored.id not in candidates:
                refused_by = self._kept_out(candidate, question, told.now)
            else:
                # Those behind one that answers have not been looked at by anybody.
                refused_by = opinion.refused_by if opinion else next(iter(guards), None)
            yield Judged(
                stored,
                _answers(stored, told.status, Tier.SEMANTIC),
                refused_by,
                max(0.0, candidate.distance),
                guards,
                opinion.probability if opinion else None,
            )

    def _kept_out(self, candidate: Candidate, question: Plan, now: float) -> Obstacle:
        if not candidate.distance <= question.lookup.max_distance:
            return "distance"
        if candidate.stored.is_disputed:
            return "disputed"
        return self._unfit(candidate.stored, question, now) or "rank"

    def _unfit(self, stored: StoredResponse, question: Plan, now: float) -> Obstacle | None:
        control = question.lookup.control
        if not stored.tagging.cover(question.lookup.tagging):
            return "tags"
        if stored.fullness < question.lookup.entitled:
            return "usage"
        if may_answer(stored, control, now) or may_answer_stale(stored, control, self.limits, now):
            return None
        return "directives" if stored.is_fresh(now) else "stale"

    async def _look_elsewhere(self, told: Explanation) -> None:
        """Find the stored response whose partition differs least from that of the request.

        Of several the one whose text has most words in common, of these the youngest.
        """
        best: tuple[int, float, float] | None = None
        cursor, key = "", told.key
        for _ in range(_PAGES):
            page = await self._curator.scan(cursor, _PAGE, EVERYTHING)
            told.searched += len(page.entries)
            for stored in page.entries:
                if key is None or stored.key.partition == key.partition:
                    continue
                parts = parts_of(stored.parts)
                if parts.get(CALLER) != told.parts[CALLER]:
                    continue
                differs = differences(told.parts, parts)
                rank = (len(differs), _unlikeness(key.text, stored.key.text), -stored.stored_at)
                if best is None or rank < best:
                    best, told.elsewhere = rank, Elsewhere(stored, differs)
            cursor = page.cursor
            if not cursor:
                told.searched_all = True
                return


def _answers(stored: StoredResponse, status: CacheStatus | None, tier: Tier) -> bool:
    return status is not None and status.tier is tier and status.entry == stored.id


def _unlikeness(one: str | None, other: str | None) -> float:
    """Tell which share of the words of two texts only one of them has."""
    a, b = ({*(text or "").lower().split()} for text in (one, other))
    return 1 - len(a & b) / len(a | b) if a or b else 0.0
