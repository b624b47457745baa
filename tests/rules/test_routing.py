"""Which rule applies to a request, and the effects of the rule."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.models import ClientRequest
from app.core.tags import NAMESPACE
from app.dialects.chat_completions.request import ChatCompletions
from app.dialects.embeddings import Embeddings
from app.rules import decisions
from app.rules.decisions import Bypass
from app.rules.key import Isolation, KeyRules
from app.rules.limits import Limits
from app.rules.plan import EmbeddingsPlan, Plan, Policy
from app.rules.routing import Rule, RuleTier, Subject, rule_for, ruled, subject_of

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
KEYS = KeyRules("https://upstream.test/v1")
LIMITS = Limits(stale_while_revalidate=30.0)
BODY = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "What is Valkey?"}]}'

RULES = (
    Rule("images", model=("gpt-image-*", "dall-e-?")),
    Rule("billing", namespace=("billing", "billing/*"), path=(CHAT,)),
    Rule("vectors", path=("*/embeddings",)),
    Rule("unnamed", model=("gpt-4o*",), namespace=("",)),
)


@pytest.mark.parametrize(
    ("model", "namespace", "path", "expected"),
    [
        ("gpt-image-1", "", CHAT, "images"),
        ("dall-e-3", "billing", CHAT, "images"),
        ("dall-e-33", "", CHAT, None),
        ("my-gpt-image-1", "", CHAT, None),
        ("GPT-IMAGE-1", "", CHAT, None),
        ("gpt-4o", "billing", CHAT, "billing"),
        ("gpt-4o", "billing/eu", CHAT, "billing"),
        ("gpt-4o", "billing-eu", CHAT, None),
        ("gpt-4o", "billing", EMBEDDINGS, "vectors"),
        ("openai/gpt-4o", "", CHAT, None),
        ("gpt-4o-mini", "", CHAT, "unnamed"),
        ("gpt-4o-mini", "a", CHAT, None),
        ("m\nm", "", CHAT, None),
        ("", "", "/v1/messages", None),
    ],
)
def test_the_first_rule_whose_globs_all_match_is_met(
    model: str, namespace: str, path: str, expected: str | None
) -> None:
    rule = rule_for(RULES, Subject(model, namespace, path))
    assert (rule and rule.name) == expected


GLOBS = st.lists(st.sampled_from(["*", "a*", "b", "?", "[ab]"]), max_size=2).map(tuple)
NUMBERS = st.none() | st.floats(0, 2)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    return Rule(
        draw(st.text("xyz", min_size=1, max_size=3)),
        draw(GLOBS),
        draw(GLOBS),
        (),
        draw(st.sampled_from([None, "off", "exact", "semantic"])),
        draw(NUMBERS),
        None,
        draw(NUMBERS),
        draw(NUMBERS),
        draw(NUMBERS),
        draw(st.floats(0, 1)),
    )


@given(st.lists(rules(), max_size=5), st.sampled_from("abc"), st.sampled_from(["", "a", "b"]))
def test_what_stands_behind_the_rule_that_is_met_changes_nothing(
    listed: list[Rule], model: str, namespace: str
) -> None:
    subject = Subject(model, namespace, CHAT)
    found = rule_for(listed, subject)
    if found is None:
        assert all(rule.misfit(subject) for rule in listed)
        return
    place = next(at for at, rule in enumerate(listed) if rule is found)
    assert all(rule.misfit(subject) for rule in listed[:place])
    assert rule_for(listed[: place + 1], subject) is found


@given(rules(), st.floats(0, 2), st.floats(0, 1), st.booleans())
def test_no_rule_makes_a_wrong_hit_likelier(
    rule: Rule, distance: float, probability: float, all_share: bool
) -> None:
    limits = Limits(max_distance=distance, min_probability=probability)
    told = ruled(limits, rule, all_share=all_share)
    assert told.max_distance <= limits.max_distance
    assert told.min_probability >= limits.min_probability


def test_without_a_rule_all_is_as_it_was() -> None:
    assert ruled(LIMITS, None, all_share=True) is LIMITS
    assert replace(ruled(LIMITS, Rule("empty"), all_share=False)) == LIMITS


def admitted(rules: tuple[Rule, ...], body: bytes = BODY, **changes: Any) -> Any:
    policy = Policy(changes.pop("keys", KEYS), LIMITS, rules=rules)
    headers = [(b"x-cache-" + name.encode(), value) for name, value in changes.items()]
    request = ClientRequest("POST", b"/chat/completions", b"", headers)
    return decisions.admit(ChatCompletions(), request, body, policy)


@pytest.mark.parametrize(
    ("tier", "text"), [("exact", None), ("semantic", "What is Valkey?"), (None, "What is Valkey?")]
)
def test_a_rule_says_what_answers(tier: RuleTier | None, text: str | None) -> None:
    plan = admitted((Rule("one", tier=tier),))
    assert isinstance(plan, Plan)
    assert (plan.text, plan.rule) == (text, "one")


def test_what_is_off_goes_past_the_cache() -> None:
    assert admitted((Rule("one", tier="off"),)) == Bypass("policy", "one")
    request = ClientRequest("POST", b"/embeddings", b"", ())
    body = b'{"model": "e", "input": "a"}'
    off = Policy(KEYS, LIMITS, rules=(Rule("one", path=("*/embeddings",), tier="off"),))
    assert decisions.admit(Embeddings(), request, body, off) == Bypass("policy", "one")


def test_an_embeddings_request_has_the_lifetimes_of_its_rule() -> None:
    request = ClientRequest("POST", b"/embeddings", b"", ())
    policy = Policy(KEYS, LIMITS, rules=(Rule("one", ttl=7.0, stale_if_error=9.0),))
    plan = decisions.admit(Embeddings(), request, b'{"model": "e", "input": "a"}', policy)
    assert isinstance(plan, EmbeddingsPlan)
    assert (plan.limits.ttl, plan.limits.stale_if_error) == (7.0, 9.0)


@pytest.mark.parametrize(
    ("isolation", "asked", "ttl"),
    [
        (Isolation.CREDENTIAL, b"9", 9.0),
        (Isolation.CREDENTIAL, b"90", 90.0),
        (Isolation.SHARED, b"9", 9.0),
        (Isolation.SHARED, b"90", 60.0),
    ],
)
def test_where_all_share_no_client_keeps_an_answer_for_longer_than_its_rule_says(
    isolation: Isolation, asked: bytes, ttl: float
) -> None:
    plan = admitted((Rule("one", ttl=60.0),), keys=replace(KEYS, isolation=isolation), ttl=asked)
    assert plan.limits.ttl == ttl


def test_a_request_may_be_stricter_than_its_rule() -> None:
    plan = admitted((Rule("one", tier="semantic", max_distance=0.1),), tier=b"exact")
    assert plan.text is None
    nearer = (Rule("one", max_distance=0.1),)
    assert admitted(nearer, **{"max-distance": b"0.05"}).max_distance == 0.05
    assert admitted(nearer, **{"max-distance": b"0.14"}).max_distance == 0.1


@pytest.mark.parametrize(
    ("prefix", "path", "model"),
    [
        (b"/v1", b"/chat/completions", "m"),
        (b"", b"/chat/completions", "m"),
        (b"/openai/v1", b"/chat/completions", "m"),
        (b"/openai", b"/deployments/gpt%2D4o/chat/completions", "gpt-4o"),
    ],
)
def test_however_a_path_is_written_it_is_the_same_and_a_deployment_is_a_model(
    prefix: bytes, path: bytes, model: str
) -> None:
    request = ClientRequest("POST", path, b"", (), prefix=prefix)
    assert subject_of(request, "m", "n") == Subject(model, "n", CHAT)


@given(
    st.lists(rules(), max_size=4).map(tuple),
    *[st.tuples(st.sampled_from("abc"), st.sampled_from(["a", "b", "a, b"])) for _ in range(2)],
)
def test_requests_that_may_share_an_answer_meet_the_same_rule(
    listed: tuple[Rule, ...], one: tuple[str, str], other: tuple[str, str]
) -> None:
    semantic = tuple(replace(rule, tier=None, name=str(n)) for n, rule in enumerate(listed))
    plans = []
    for model, namespace in (one, other):
        body = BODY.replace(b"gpt-4o", model.encode())
        headers = [(NAMESPACE, value.encode()) for value in namespace.split(", ")]
        request = ClientRequest("POST", b"/chat/completions", b"", headers)
        policy = Policy(KEYS, LIMITS, rules=semantic)
        plan = decisions.admit(ChatCompletions(), request, body, policy)
        assert isinstance(plan, Plan)
        plans.append(plan)
    a, b = plans
    assert a.key.partition != b.key.partition or (a.rule, a.limits) == (b.rule, b.limits)


def test_as_many_neighbours_are_looked_at_as_any_rule_needs() -> None:
    plain = Policy(KEYS, Limits())
    assert plain.candidates == plain.limits.candidates
    stale = replace(plain, rules=(Rule("one"), Rule("two", stale_if_error=60.0)))
    assert stale.candidates == Limits(stale_if_error=60.0).candidates > plain.candidates
