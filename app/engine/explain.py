"""Explains to an operator how a request would be answered, and why.

Rules of this file: decisions are made by `rules/decisions.py`, as for callers. An explanation does
not start or join a flight, stores nothing, sends no chat completion to the upstream, and counts no
hit, miss or refusal.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from app.core.cache_status import BypassReason, CacheStatus, Tier
from app.core.errors import DependencyUnavailable, Failure
from app.core.models import CacheKey, Candidate, ClientRequest, Guard, StoredResponse
from app.core.offload import by_size
from app.core.selectors import EVERYTHING
from app.dialects.dialect import Dialect
from app.engine.context import Context
from app.engine.handler import Handler
from app.engine.lookup import Lookup
from app.engine.operations import Operations
from app.engine.serving import Serving
from app.rules import decisions
from app.rules.decisions import Bypass, Fetch, Join, Refuse, Serve
from app.rules.headers import cache_control
from app.rules.key_parts import CALLER, KeyParts, differences, key_parts, parts_of
from app.rules.plan import EmbeddingsPlan, Found, Plan
from app.rules.rounds import rounds
from app.rules.sharing import answers_by_meaning

_PAGE, _PAGES = 250, 400  # page size, and pages that are searched for entries of other partitions
_SECONDS = 2.0  # time limit of that search

Obstacle = (
    Literal["tags", "usage", "disputed", "stale", "directives", "distance", "rank"]
    | Literal["verifier", "mode", "not-shared", "caution"]
    | Guard
)
"""Why a stored response does not answer a request. docs/explain.md explains each value."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A stored response, whether it would answer the request, and if not, why.

    `refused_by`: the first reason why it would not answer; None if it would.
    `guards`: all guards that refuse it.
    `distance` (cosine) and `probability` (0 to 1) are None if they were not measured.
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
    """How a request would be answered, and why.

    `status`: the answer's status; None if the request would be refused (`only-if-cached`).
    `bypass`: why the request must not use the cache; None if it may. With a `bypass`, `key` is
    None.
    `exact_only`: whether the request has no text that can be matched by meaning.
    `rule`: the name of the operator's rule that applies to the request; empty if none applies.
    `max_distance`, `min_probability`: the limits for a candidate that may answer the request.
    `nearest`: the judged candidates; None if there was no search by meaning.
    `elsewhere`: the most similar entry of another partition; None if none was found.
    `searched`: the number of entries that were looked at to find `elsewhere`.
    `searched_all`: whether all entries were looked at.
    """

    status: CacheStatus | None
    now: float
    bypass: BypassReason | None = None
    key: CacheKey | None = None
    exact_only: bool = False
    parts: KeyParts = field(default_factory=dict)
    exact: Judged | None = None
    nearest: Sequence[Judged] | None = None
    rule: str = ""
    max_distance: float | None = None
    min_probability: float | None = None
    elsewhere: Elsewhere | None = None
    searched: int = 0
    searched_all: bool = False
    failures: set[Failure] = field(default_factory=set)


class Explainer:
    """Explains how a request would be answered now. `lookup` has a matcher that counts nothing."""

    def __init__(
        self,
        handler: Handler,
        lookup: Lookup,
        serving: Serving,
        operations: Operations,
        context: Context,
    ) -> None:
        self._handler = handler
        self._lookup = lookup
        self._matcher = lookup.matcher
        self._serving = serving
        self._operations = operations
        self._keys = context.policy.keys
        self._clock = context.clock
        self.limits = context.limits
        self.mode = context.policy.mode

    @property
    def least(self) -> float | None:
        """The least probability with which a hit is served; None if there is no verifier."""
        return self._matcher.least

    async def explain(
        self, dialect: Dialect, request: ClientRequest, body: bytes | None
    ) -> Explanation:
        """Explain a request. `body` is None if the body is too large to be read."""
        plan: Bypass | Plan | EmbeddingsPlan = Bypass("body-too-large")
        if body is not None:
            plan = await self._handler.admit(dialect, request, body)
        if isinstance(plan, Plan):
            return await self._explained(plan)
        reason: BypassReason = plan.reason if isinstance(plan, Bypass) else "unknown-body"
        only_cached = cache_control(request.headers).only_if_cached
        status = None if only_cached else CacheStatus.bypass(reason)
        rule = plan.rule if isinstance(plan, Bypass) else ""
        return Explanation(status, self._clock(), bypass=reason, rule=rule)

    async def _decide(self, plan: Plan) -> tuple[Found, Serve | Refuse | Fetch]:
        """Decide as the handler would if no other request were being handled."""
        found = await self._lookup.exact(plan, self._lookup.nothing())
        decision: Serve | Refuse | Join | Fetch
        decision = decisions.after_exact(plan, found, self._clock())
        if isinstance(decision, Join):
            if plan.control.no_cache:
                found = await self._lookup.embed(plan, found)
            elif not decisions.is_settled(plan, found, self._clock()):
                found = await self._lookup.search(plan, found)
            decision = decisions.after_search(plan, found, self._clock())
        if isinstance(decision, Serve) and not await self._is_readable(plan, decision):
            decision = decisions.unanswered(plan, found, self._clock())
        return found, decision

    async def _is_readable(self, plan: Plan, decision: Serve) -> bool:
        content = decision.stored.content
        return await self._serving.render(plan, content, decision.status) is not None

    async def _explained(self, plan: Plan) -> Explanation:
        found, decision = await self._decide(plan)
        around = found
        if found.candidates is None and found.failure is None:
            # Candidates are shown even if an exact match answers, or if nothing may be served.
            anew = replace(self._lookup.nothing(), embedding=found.embedding)
            around = await self._lookup.search(plan, await self._lookup.exact(plan, anew))
        told = Explanation(
            None if isinstance(decision, Refuse) else decision.status,
            self._clock(),
            key=plan.key,
            rule=plan.rule,
            max_distance=plan.max_distance,
            min_probability=self._least(plan),
            exact_only=around.embedding is None and around.failure is None,
            parts=await by_size(
                plan.size, lambda: key_parts(plan.request, plan.parsed, self._keys)
            ),
            failures={look.failure for look in (found, around) if look.failure},
        )
        if (stored := around.exact or found.exact) is not None:
            told.exact = self._exact(stored, plan, told)
        if around.candidates is not None:
            told.nearest = list(self._judged(around, plan, told))
        try:
            async with asyncio.timeout(_SECONDS):
                await self._look_elsewhere(told)
        except DependencyUnavailable as unavailable:
            told.failures.add(unavailable.detail)
        except TimeoutError:
            pass  # the results so far are shown, and that the search was not complete
        return told

    def _least(self, plan: Plan) -> float | None:
        least = self._matcher.least
        return None if least is None else max(least, plan.limits.min_probability)

    def _exact(self, stored: StoredResponse, plan: Plan, told: Explanation) -> Judged:
        answers = _answers(stored, told.status, Tier.EXACT)
        refused_by = self._unfit(stored, plan, told.now) or self._kept_back(Tier.EXACT)
        return Judged(stored, answers, None if answers else refused_by)

    def _judged(self, found: Found, plan: Plan, told: Explanation) -> Iterator[Judged]:
        candidates = found.candidates or ()
        verdicts = {verdict.candidate.stored.id: verdict for verdict in found.verdicts}
        parts = rounds(plan, candidates, told.now)
        judged = {candidate.stored.id for part in parts for candidate in part}
        asked = plan.key.text or ""
        for candidate in candidates:
            stored = candidate.stored
            guards = self._matcher.all_refusing(asked, stored.key.text or "")
            verdict = verdicts.get(stored.id)
            refused_by: Obstacle | None
            if stored.id not in judged:
                refused_by = self._kept_out(candidate, plan, told.now)
            elif verdict:
                is_beaten = found.chosen is not None and found.chosen is not candidate
                refused_by = verdict.refused_by or ("rank" if is_beaten else None)
            else:
                refused_by = next(iter(guards), "rank")
            distance = max(0.0, candidate.distance)
            probability = verdict.probability if verdict else None
            is_doubtful = not plan.caution.serves(distance, probability)
            yield Judged(
                stored,
                _answers(stored, told.status, Tier.SEMANTIC),
                refused_by
                or self._kept_back(Tier.SEMANTIC)
                or ("caution" if is_doubtful else None),
                distance,
                guards,
                probability,
            )

    def _kept_out(self, candidate: Candidate, plan: Plan, now: float) -> Obstacle:
        if not candidate.distance <= plan.max_distance:
            return "distance"
        if candidate.stored.is_disputed:
            return "disputed"
        share_after = plan.limits.share_after
        if not answers_by_meaning(candidate.stored, plan.asker, share_after):
            return "not-shared"
        return self._unfit(candidate.stored, plan, now) or "rank"

    def _unfit(self, stored: StoredResponse, plan: Plan, now: float) -> Obstacle | None:
        if not stored.tagging.cover(plan.tagging):
            return "tags"
        if stored.fullness < plan.entitled:
            return "usage"
        if decisions.may_serve(plan, stored, now):
            return None
        return "directives" if stored.is_fresh(now) else "stale"

    def _kept_back(self, tier: Tier) -> Obstacle | None:
        return None if self.mode.serves(tier) else "mode"

    async def _look_elsewhere(self, told: Explanation) -> None:
        """Find the stored response whose partition differs in the fewest parts from the request's.

        Among responses with the same number of different parts, choose the one whose text has the
        most words in common with the request's text. If these are equal, too, choose the youngest.
        """
        best: tuple[int, float, float] | None = None
        cursor, key = "", told.key
        for _ in range(_PAGES):
            page = await self._operations.scan(cursor, _PAGE, EVERYTHING)
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
    """Return the share of words, from 0 to 1, that occur in only one of the two texts."""
    a, b = ({*(text or "").lower().split()} for text in (one, other))
    return 1 - len(a & b) / len(a | b) if a or b else 0.0
