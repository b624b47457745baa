"""Decisions on what happens next depend on values alone."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.core.cache_status import Outcome, Tier
from app.core.models import CacheKey, Candidate, ClientRequest, Fullness, StoredResponse
from app.core.tags import UNTAGGED, Tagging
from app.dialects.chat_completions.request import ChatCompletions
from app.dialects.dialect import Answer
from app.rules import decisions
from app.rules.decisions import Bypass, Discard, Fetch, Join, Recorded, Refuse, Serve, Store
from app.rules.headers import CacheControl
from app.rules.key import KeyRules
from app.rules.limits import Limits
from app.rules.modes import Mode
from app.rules.plan import Found, Plan, Policy
from app.rules.rounds import rounds
from app.rules.time_bound import TimeBound

NOW = 1_700_000_000.0
POLICY = Policy(KeyRules("https://upstream.test/v1"), Limits(stale_while_revalidate=30.0))
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "What is Valkey?"}]}'
NOTHING = Found(seconds_left=0.25)


def admitted(body: bytes = BODY, **headers: bytes) -> Any:
    lines = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    request = ClientRequest("POST", b"/chat/completions", b"", lines)
    return decisions.admit(ChatCompletions(), request, body, POLICY)


def plan(**control: Any) -> Plan:
    found = admitted()
    assert isinstance(found, Plan)
    return replace(found, control=CacheControl(**control))


def stored(age: float = 10.0, key: CacheKey | None = None, **changes: Any) -> StoredResponse:
    key = key or plan().key
    changes = {"stale_lifetime": 30.0, **changes}
    return StoredResponse(key, "m", b"{}", NOW - age, 60.0, **changes)


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"{", {}, "not-json"),
        (b'{"model": "m", "messages": []}', {}, "unknown-body"),
        (BODY, {"cache_control": b"no-store"}, "no-store"),
        (BODY.replace(b"{", b'{"store": true, ', 1), {}, "store"),
        (BODY, {"x_cache_tags": b"a" * 300}, "labels"),
    ],
)
def test_what_must_not_use_the_cache_is_told_why(
    body: bytes, headers: dict[str, bytes], reason: str
) -> None:
    assert admitted(body, **headers) == Bypass(reason)  # type: ignore[arg-type]


def test_a_request_is_only_ever_stricter_than_the_operator() -> None:
    assert admitted(x_cache_max_distance=b"0.01").max_distance == 0.01
    assert admitted(x_cache_max_distance=b"2").max_distance == POLICY.limits.max_distance
    assert admitted(x_cache_ttl=b"99999999").limits.ttl == POLICY.limits.max_ttl


def test_a_question_about_the_day_ends_with_it() -> None:
    bound = decisions.bound_to_time(plan(), TimeBound.DAY, NOW)
    assert NOW < bound.ends_at <= NOW + 900
    assert bound.limits.stale_lifetime == 0
    assert decisions.bound_to_time(plan(), TimeBound.NONE, NOW).ends_at == math.inf


@pytest.mark.parametrize(
    ("control", "entry", "decision"),
    [
        ({}, None, Join()),
        ({}, stored(), Outcome.HIT),
        ({}, stored(age=70), Outcome.STALE),
        ({}, stored(age=95), Join()),
        ({"max_age": 5}, stored(), Join()),
        ({"no_cache": True}, stored(), Join()),
        ({}, stored(tagging=Tagging("", frozenset("a"))), Outcome.HIT),
        ({}, stored(fullness=Fullness.PLAIN), Join()),
        ({"only_if_cached": True}, stored(), Outcome.HIT),
        ({"only_if_cached": True}, None, Join()),  # it may still be found by meaning
    ],
)
def test_the_very_same_request_is_served_joined_or_refused(
    control: dict[str, Any], entry: StoredResponse | None, decision: Join | Outcome
) -> None:
    decided = decisions.after_exact(plan(**control), replace(NOTHING, exact=entry), NOW)
    if isinstance(decision, Join):
        assert decided == decision
    else:
        assert isinstance(decided, Serve)
        assert (decided.status.outcome, decided.status.tier) == (decision, Tier.EXACT)


def test_what_can_only_be_found_exactly_is_refused_at_once() -> None:
    exact_only = plan(only_if_cached=True)
    exact_only = replace(exact_only, key=replace(exact_only.key, text=None))
    assert decisions.after_exact(exact_only, NOTHING, NOW) == Refuse()


@pytest.mark.parametrize(
    ("control", "found", "forward", "detail"),
    [
        ({}, {}, "miss", None),
        ({}, {"exact": stored(age=95)}, "stale", None),
        ({"no_cache": True}, {"exact": stored(age=95)}, "request", None),
        ({}, {"failure": "store-unavailable"}, "miss", "store-unavailable"),
    ],
)
def test_where_nothing_serves_the_upstream_is_asked_and_told_why(
    control: dict[str, Any], found: dict[str, Any], forward: str, detail: str | None
) -> None:
    decided = decisions.after_search(plan(**control), replace(NOTHING, **found), NOW)
    assert isinstance(decided, Fetch)
    assert (decided.status.forward, decided.status.detail) == (forward, detail)


def test_a_caller_who_wants_a_stored_answer_only_is_refused() -> None:
    assert decisions.after_search(plan(only_if_cached=True), NOTHING, NOW) == Refuse()


def test_the_chosen_candidate_serves_with_its_distance() -> None:
    other = stored(key=CacheKey("p", "other", "Tell me what Valkey is"))
    found = replace(NOTHING, chosen=Candidate(other, -1e-9))
    decided = decisions.after_search(plan(), found, NOW)
    assert isinstance(decided, Serve)
    assert (decided.stored, decided.status.distance) == (other, 0.0)


def test_fresh_candidates_are_judged_before_stale_ones() -> None:
    def near(name: str, distance: float, **changes: Any) -> Candidate:
        return Candidate(stored(key=CacheKey("p", name, name), **changes), distance)

    stale, far, fresh = near("a", 0.01, age=70), near("b", 0.9), near("c", 0.1)
    disputed, poor = near("d", 0.0, is_disputed=True), near("e", 0.0, fullness=Fullness.PLAIN)
    candidates = [disputed, poor, stale, fresh, far]
    assert rounds(plan(), candidates, NOW) == [[fresh], [stale]]


def recorded(**changes: Any) -> Recorded[Answer]:
    return Recorded(Answer(b"{}", **changes), 60.0, 0.0)


def test_a_refusal_is_not_stored() -> None:
    decided = decisions.after_upstream(plan(), NOTHING, recorded(unfit="refusal"), "e", NOW)
    assert decided == Discard("refusal")


def test_an_answer_that_comes_after_its_questions_end_is_not_stored() -> None:
    late = replace(plan(), ends_at=NOW)
    assert decisions.after_upstream(late, NOTHING, recorded(), "e", NOW) == Discard("out-of-date")


def test_an_answer_takes_over_the_tags_of_the_one_that_it_replaces() -> None:
    found = replace(NOTHING, exact=stored(tagging=Tagging("", frozenset("a"))))
    asked = replace(plan(), tagging=Tagging("", frozenset("b")))
    decided = decisions.after_upstream(asked, found, recorded(), "e", NOW)
    assert isinstance(decided, Store)
    assert decided.stored.tagging.tags == {"a", "b"}
    assert decided.stored.epoch == "e"


def test_an_answer_that_serves_the_same_request_only_is_stored_without_embedding() -> None:
    found = replace(NOTHING, embedding=np.ones(2, np.float32))
    for exact_only in (False, True):
        decided = decisions.after_upstream(plan(), found, recorded(exact_only=exact_only), "e", NOW)
        assert isinstance(decided, Store)
        assert (decided.embedding is None) is exact_only
    assert found.carried == UNTAGGED


def in_mode(mode: Mode, **control: Any) -> Plan:
    return replace(plan(**control), mode=mode)


FRESH, STALE, NEAR = stored(), stored(70.0), Candidate(stored(key=CacheKey("p", "d", "t")), 0.1)


@pytest.mark.parametrize(
    ("mode", "found", "tier", "shadow"),
    [
        (Mode.SERVE, replace(NOTHING, exact=FRESH), Tier.EXACT, None),
        (Mode.SERVE, replace(NOTHING, chosen=NEAR), Tier.SEMANTIC, None),
        (Mode.SERVE, NOTHING, None, None),
        (Mode.SERVE_EXACT, replace(NOTHING, exact=FRESH, chosen=NEAR), Tier.EXACT, None),
        (Mode.SERVE_EXACT, replace(NOTHING, exact=STALE), Tier.EXACT, None),
        (Mode.SERVE_EXACT, replace(NOTHING, chosen=NEAR), None, (Outcome.HIT, Tier.SEMANTIC)),
        (Mode.SERVE_EXACT, NOTHING, None, (Outcome.MISS, None)),
        (Mode.SHADOW, replace(NOTHING, exact=FRESH, chosen=NEAR), None, (Outcome.HIT, Tier.EXACT)),
        (Mode.SHADOW, replace(NOTHING, exact=STALE), None, (Outcome.STALE, Tier.EXACT)),
        (Mode.SHADOW, replace(NOTHING, chosen=NEAR), None, (Outcome.HIT, Tier.SEMANTIC)),
        (Mode.SHADOW, NOTHING, None, (Outcome.MISS, None)),
    ],
)
def test_what_a_mode_keeps_back_is_told_beside_the_miss(
    mode: Mode, found: Found, tier: Tier | None, shadow: tuple[Outcome, Tier | None] | None
) -> None:
    decision = decisions.after_search(in_mode(mode), found, NOW)
    assert isinstance(decision, Serve if tier else Fetch)
    assert not isinstance(decision, Refuse)
    kept_back = decision.status.shadow
    assert decision.status.tier is tier
    assert (kept_back and (kept_back.outcome, kept_back.tier)) == shadow


@pytest.mark.parametrize(
    ("mode", "found", "refused"),
    [
        (Mode.SERVE, replace(NOTHING, exact=FRESH), False),
        (Mode.SERVE, NOTHING, False),  # meaning may answer yet
        (Mode.SERVE_EXACT, replace(NOTHING, exact=FRESH), False),
        (Mode.SERVE_EXACT, NOTHING, True),
        (Mode.SHADOW, replace(NOTHING, exact=FRESH), True),
        (Mode.SHADOW, NOTHING, True),
    ],
)
def test_a_mode_refuses_who_wants_only_what_it_keeps_back(
    mode: Mode, found: Found, refused: bool
) -> None:
    decision = decisions.after_exact(in_mode(mode, only_if_cached=True), found, NOW)
    assert isinstance(decision, Refuse) is refused


def test_nothing_kept_back_stands_in_for_a_failure() -> None:
    near = replace(NOTHING, chosen=NEAR)
    assert decisions.in_place_of_failure(in_mode(Mode.SERVE), near, NOW)
    assert decisions.in_place_of_failure(in_mode(Mode.SERVE_EXACT), near, NOW) is None


@pytest.mark.parametrize(
    ("mode", "control", "found", "kept"),
    [
        (Mode.SHADOW, {}, FRESH, True),
        (Mode.SHADOW, {}, STALE, False),
        (Mode.SHADOW, {"no_cache": True}, FRESH, False),
        (Mode.SHADOW, {}, None, False),
        (Mode.SERVE_EXACT, {}, FRESH, False),
        (Mode.SERVE, {}, FRESH, False),
    ],
)
def test_a_fresh_answer_in_shadow_ages_as_if_it_were_served(
    mode: Mode, control: dict[str, Any], found: StoredResponse | None, kept: bool
) -> None:
    recorded = Recorded(Answer(b"{}"), 60.0, 0.0)
    known = replace(NOTHING, exact=found)
    decision = decisions.after_upstream(in_mode(mode, **control), known, recorded, "e", NOW)
    assert (decision == Discard("still-fresh")) is kept


def test_where_all_share_a_fresh_answer_stays_whatever_passed_it_over() -> None:
    asked = replace(plan(no_cache=True), asker="a")
    found = replace(NOTHING, exact=stored())
    decided = decisions.after_upstream(asked, found, recorded(), "e", NOW)
    assert decided == Discard("others-fresh")
    assert isinstance(decisions.after_upstream(plan(), found, recorded(), "e", NOW), Store)


@pytest.mark.parametrize("exact", [None, stored(age=70.0), stored(fullness=Fullness.PLAIN)])
def test_where_all_share_what_is_missing_stale_or_poorer_is_replaced(
    exact: StoredResponse | None,
) -> None:
    asked = replace(plan(no_cache=True), asker="a")
    found = replace(NOTHING, exact=exact)
    assert isinstance(decisions.after_upstream(asked, found, recorded(), "e", NOW), Store)
