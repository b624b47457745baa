"""Decides what happens next to a request: one function per step. Each returns a decision.

    admit           -> Bypass | Plan | EmbeddingsPlan   parse, cacheability, key, limits
    after_exact     -> Serve | Refuse | Join
    after_search    -> Serve | Refuse | Fetch
    after_upstream  -> Store | Discard

All are pure: `now` is an argument, in seconds since 1970. Each decision says why it was made. The
engine acts on the decisions, and `/cache/explain` prints them.
"""

from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from app.core.cache_status import BypassReason, CacheStatus, DiscardReason, Forward, Outcome, Tier
from app.core.errors import NotUnderstood
from app.core.models import ClientRequest, Embedding, StoredResponse
from app.core.tags import tagging_of
from app.dialects.dialect import Answer, Dialect
from app.dialects.embeddings import EmbeddingsRequest
from app.rules import freshness
from app.rules.directives import directives
from app.rules.key import build_embedding_keys, build_key, build_open_key
from app.rules.modes import Mode
from app.rules.plan import ANY_ORIGIN, EmbeddingsPlan, Found, Plan, Policy
from app.rules.routing import rule_for, strictest, subject_of
from app.rules.sharing import asker_of, askers_with, stays_for_others
from app.rules.time_bound import TimeBound

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bypass:
    """Forward the request without using the cache.

    `rule` is the name of the operator's rule that caused this decision; empty if no rule did.
    """

    reason: BypassReason
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Serve:
    """Answer with a stored response; `status` says how it was found and how fresh it is.

    `probability` is the verifier's. It is None for an exact match, and None if no verifier was
    asked.
    `epoch` is the store's epoch in which the response was looked up.
    """

    stored: StoredResponse
    status: CacheStatus
    probability: float | None = None
    epoch: str = ""

    @property
    def is_stale(self) -> bool:
        """Whether the answer is stale, so that a newer one should be fetched."""
        return self.status.outcome is Outcome.STALE


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with status 504: the client accepts only stored responses, and none may be served."""


@dataclass(frozen=True, slots=True)
class Join:
    """Join an identical request for which the answer is already being looked up or fetched.

    If there is no identical request, this request is the first, and later requests can join it.
    """


@dataclass(frozen=True, slots=True)
class Fetch:
    """Send the request to the upstream; `status` says why."""

    status: CacheStatus


@dataclass(frozen=True, slots=True)
class Store:
    """Store an answer.

    If `embedding` is None, the answer can be found only by its exact key.
    """

    stored: StoredResponse
    embedding: Embedding | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Discard:
    """Do not store an answer."""

    reason: DiscardReason


@dataclass(frozen=True, slots=True)
class Recorded(Generic[T]):
    """An answer that was read completely, with its lifetimes in seconds.

    `allow_origin`: the answer's Access-Control-Allow-Origin; empty if it has none.
    `seconds`: how many seconds the upstream took, from the request to the last byte.
    """

    answer: T
    freshness_lifetime: float
    stale_lifetime: float
    allow_origin: str = ""
    seconds: float = 0.0


def admit(
    dialect: Dialect, request: ClientRequest, body: bytes, policy: Policy
) -> Bypass | Plan | EmbeddingsPlan:
    """Decide whether a request may use the cache, and with which key and limits."""
    asked = directives(request.headers)
    try:
        parsed = dialect.parse(body)
    except NotUnderstood as unknown:
        return Bypass(unknown.detail)
    if asked.control.no_store:
        return Bypass("no-store")
    if reason := parsed.bypass_reason(policy.limits.max_temperature):
        return Bypass(reason)
    if (tagging := tagging_of(request.headers)) is None:
        return Bypass("labels")
    rule = rule_for(policy.rules, subject_of(request, parsed.model, tagging.namespace))
    name = rule.name if rule else ""
    if rule and rule.tier == "off":
        return Bypass("policy", name)
    if rule and rule.tier == "exact":
        asked = replace(asked, exact_only=True)
    limits = freshness.limits_for(policy.limits_by(rule), asked.ttl)
    if isinstance(parsed, EmbeddingsRequest):
        keys = build_embedding_keys(request, parsed, policy.keys)
        return EmbeddingsPlan(request, parsed, asked.control, limits, keys, policy.mode)
    return Plan(
        request=request,
        dialect=dialect.name,
        parsed=parsed,
        size=len(body),
        key=build_key(request, parsed, policy.keys),
        control=asked.control,
        asked=asked,
        tagging=tagging,
        limits=limits,
        max_distance=strictest(limits.max_distance, asked.max_distance),
        open_key=build_open_key(request, parsed, policy.keys),
        mode=policy.mode,
        asker=asker_of(request.headers, policy.keys),
        rule=name,
    )


def bound_to_time(plan: Plan, bound: TimeBound, now: float) -> Plan:
    """Return `plan`, made stricter if its question is time-bound.

    `bound` says in which way the answer to the question depends on the time.
    """
    if not bound:
        return plan
    return replace(
        plan,
        control=freshness.bound(plan.control, bound, plan.limits, now),
        limits=freshness.limits_for(plan.limits, None, bound),
        ends_at=freshness.ends_at(bound, now),
    )


def after_exact(plan: Plan, found: Found, now: float) -> Serve | Refuse | Join:
    """Decide what happens after the look-up by exact key."""
    served = _exact(plan, found, now)
    if served and plan.mode.serves(Tier.EXACT):
        return served
    if plan.control.only_if_cached and (plan.text is None or not plan.mode.serves(Tier.SEMANTIC)):
        return Refuse()
    return Join()


def is_settled(plan: Plan, found: Found, now: float) -> bool:
    """Whether an exact match makes a search by meaning unnecessary.

    An exact match that may be served, even stale, is enough. If the mode forbids serving exact
    matches, only a fresh exact match is enough.
    """
    answer = _exact(plan, found, now)
    return answer is not None and (plan.mode.serves(Tier.EXACT) or not answer.is_stale)


def after_search(plan: Plan, found: Found, now: float) -> Serve | Refuse | Fetch:
    """Decide what happens after the look-ups by exact key and by meaning."""
    answer = _answer(plan, found, now)
    if answer and _may_be_served(plan, found, answer):
        return answer
    return unanswered(plan, found, now)


def _may_be_served(plan: Plan, found: Found, answer: Serve) -> bool:
    """Whether both the mode and the level of caution allow an answer to be served."""
    if not plan.mode.serves(answer.status.tier):
        return False
    distance = answer.status.distance
    return distance is None or plan.caution.serves(distance, found.probability)


def _answer(plan: Plan, found: Found, now: float) -> Serve | None:
    """Return the stored answer that was found, even if the mode or caution holds it back.

    If there are both an exact match and a hit by meaning, the exact match is returned. If there
    is neither, the result is None.
    """
    if served := _exact(plan, found, now):
        return served
    if chosen := found.chosen:
        distance = max(0.0, chosen.distance)
        status = CacheStatus.hit(chosen.stored, now, distance)
        return Serve(chosen.stored, status, found.probability, found.epoch)
    return None


def unanswered(plan: Plan, found: Found, now: float) -> Refuse | Fetch:
    """Decide what happens if no stored response may be served."""
    control = plan.control
    if control.only_if_cached:
        return Refuse()
    forward: Forward = "stale" if has_stale(plan, found, now) else "miss"
    if control.no_cache:
        forward = "request"
    status = CacheStatus.miss(plan.key.digest, forward=forward, detail=found.failure)
    kept = kept_back(plan, found, now)
    if plan.mode is Mode.SERVE and not kept:
        return Fetch(status)
    return Fetch(replace(status, shadow=kept.status if kept else status))


def kept_back(plan: Plan, found: Found, now: float) -> Serve | None:
    """Return the stored answer that the mode or caution holds back; None if there is none."""
    answer = _answer(plan, found, now)
    return answer if answer and not _may_be_served(plan, found, answer) else None


def in_place_of_failure(plan: Plan, found: Found, now: float) -> Serve | None:
    """Return the stored answer to serve if the upstream has failed (RFC 5861 §4), or None."""
    stored, distance, probability = found.exact, None, None
    if stored is None or not (
        is_for(plan, stored) and freshness.may_stand_in(stored, plan.control, plan.limits, now)
    ):
        if found.chosen is None:
            return None
        stored, distance = found.chosen.stored, max(0.0, found.chosen.distance)
        probability = found.probability
    status = CacheStatus.hit(stored, now, distance)
    answer = Serve(stored, status, probability, found.epoch)
    return answer if distance is None or _may_be_served(plan, found, answer) else None


def _exact(plan: Plan, found: Found, now: float) -> Serve | None:
    stored = found.exact
    if stored is None or not is_for(plan, stored) or not may_serve(plan, stored, now):
        return None
    return Serve(stored, CacheStatus.hit(stored, now, None), epoch=found.epoch)


def is_open(stored: StoredResponse) -> bool:
    """Whether web pages of any origin may read a stored answer."""
    return stored.allow_origin == ANY_ORIGIN


def has_stale(plan: Plan, found: Found, now: float) -> bool:
    """Whether there is an exact match that is stale."""
    stored = found.exact
    return stored is not None and is_for(plan, stored) and not stored.is_fresh(now)


def may_serve(plan: Plan, stored: StoredResponse, now: float) -> bool:
    """Whether a stored response, fresh or stale, is young enough to be served to a request."""
    return freshness.may_answer(stored, plan.control, now) or freshness.may_answer_stale(
        stored, plan.control, plan.limits, now
    )


def is_for(plan: Plan, stored: StoredResponse) -> bool:
    """Whether an entry has the tags that a request asks for, and enough of the field `usage`."""
    return stored.tagging.cover(plan.tagging) and stored.fullness >= plan.entitled


def after_upstream(
    plan: Plan, found: Found, recorded: Recorded[Answer], epoch: str, now: float
) -> Store | Discard:
    """Decide whether to store an answer that was read completely."""
    answer = recorded.answer
    if answer.unfit:
        return Discard(answer.unfit)
    if plan.mode is Mode.SHADOW and is_settled(plan, found, now):
        return Discard("still-fresh")
    if plan.asker and stays_for_others(found.exact, plan.entitled, now):
        return Discard("others-fresh")
    left = plan.ends_at - now
    if left <= 0:
        return Discard("out-of-date")
    stored = StoredResponse(
        key=plan.key,
        model=plan.parsed.model,
        content=answer.content,
        stored_at=now,
        freshness_lifetime=min(recorded.freshness_lifetime, left),
        stale_lifetime=recorded.stale_lifetime,
        epoch=epoch,
        tagging=plan.tagging.joined(found.carried),
        fullness=answer.fullness,
        allow_origin=recorded.allow_origin,
        dialect=plan.dialect,
        upstream_id=answer.upstream_id,
        askers=askers_with(found.exact, plan.asker, plan.limits.share_after),
        seconds=recorded.seconds,
    )
    return Store(stored, None if answer.exact_only else found.embedding)
