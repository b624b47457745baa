import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.core.callers import is_named
from app.core.models import CacheKey, ClientRequest, Header
from app.dialects.chat_completions.request import ChatRequest
from app.rules.key import Isolation, KeyRules, build_key, caller_name, callers_of
from tests.strategies import JSON, WORD

RULES = KeyRules(upstream="https://upstream.test/v1")
WHO = [
    b"user",
    b"email",
    b"groups",
    b"preferred-username",
    b"access-token",
    b"client-cert",
    b"tls-client-cert-info",
]
AUTHORIZED: list[Header] = [(b"authorization", b"Bearer sk-1")]
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": "What is Valkey?"},
    ],
}


def key_of(
    body: dict[str, Any] | bytes = b"",
    headers: list[Header] | None = None,
    rules: KeyRules = RULES,
    path: bytes = b"/chat/completions",
    query: bytes = b"",
) -> CacheKey:
    raw = body if isinstance(body, bytes) and body else json.dumps(body or BODY).encode()
    request = ClientRequest("POST", path, query, AUTHORIZED if headers is None else headers, raw)
    return build_key(request, ChatRequest.parse(raw), rules)


def last_turn(content: object, **fields: Any) -> dict[str, Any]:
    return {
        **BODY,
        "messages": [*BODY["messages"][:-1], {"role": "user", "content": content, **fields}],
    }


def shuffled(document: Any, randomness: random.Random) -> Any:
    if isinstance(document, dict):
        items = [(name, shuffled(value, randomness)) for name, value in document.items()]
        randomness.shuffle(items)
        return dict(items)
    if isinstance(document, list):
        return [shuffled(value, randomness) for value in document]
    return document


FIELDS = st.dictionaries(
    WORD.filter(lambda name: name not in {"model", "messages", "n", "temperature"}),
    JSON,
    max_size=4,
)


def valid(fields: dict[str, Any]) -> bool:
    return not {"stream", "stream_options"} & set(fields)


@given(FIELDS.filter(valid), st.randoms(use_true_random=False), st.sampled_from([None, 1, "\t"]))
def test_the_order_of_keys_and_white_space_do_not_matter(
    fields: dict[str, Any], randomness: random.Random, indent: int | str | None
) -> None:
    body = {**BODY, **fields}
    other = json.dumps(shuffled(body, randomness), indent=indent, ensure_ascii=False).encode()
    assert key_of(other) == key_of(body)


@given(FIELDS.filter(valid), FIELDS.filter(valid))
def test_any_other_difference_of_the_body_is_another_key(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    # As JSON text, because 1, 1.0 and true are equal to Python.
    assume(json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True))
    keys = key_of({**BODY, **one}), key_of({**BODY, **other})
    assert keys[0].partition != keys[1].partition
    assert keys[0].digest != keys[1].digest


@given(WORD, WORD)
def test_the_last_text_decides_the_digest_and_not_the_partition(one: str, other: str) -> None:
    assume(one != other)
    keys = key_of(last_turn(one)), key_of(last_turn(other))
    assert keys[0].partition == keys[1].partition
    assert keys[0].digest != keys[1].digest


def test_the_text_to_embed_is_that_of_the_last_turn() -> None:
    assert key_of().text == "What is Valkey?"
    parts = [{"type": "text", "text": "What is"}, {"type": "text", "text": "Valkey?"}]
    assert key_of(last_turn(parts)).text == "What is\nValkey?"


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"messages": BODY["messages"][1:]},
        {"messages": [{"role": "system", "content": "Be rude."}, *BODY["messages"][1:]]},
        {"messages": [{"role": "developer", "content": "Be kind."}, *BODY["messages"][1:]]},
        {"temperature": 0},
        {"temperature": 0.0},
        {"top_p": True},
        {"top_p": 0.9},
        {"n": 2},
        {"seed": 7},
        {"stop": "\n"},
        {"logprobs": True},
        {"top_logprobs": 2},
        {"max_tokens": 10},
        {"max_completion_tokens": 10},
        {"reasoning_effort": "low"},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tool_choice": "auto"},
        {"parallel_tool_calls": False},
        {"store": True},
        {"top_k": None},
        {"top_k": 0},
        {"never_heard_of": None},
    ],
)
def test_what_can_change_the_answer_is_in_the_partition(change: dict[str, Any]) -> None:
    assert key_of({**BODY, **change}).partition != key_of().partition


@pytest.mark.parametrize(
    "change",
    [
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"user": "ann"},
        {"metadata": {"trace": "1"}},
        {"service_tier": "flex"},
        {"prompt_cache_key": "k"},
        {"prompt_cache_retention": "24h"},
        {"safety_identifier": "s"},
    ],
)
def test_neutral_fields_take_no_part(change: dict[str, Any]) -> None:
    assert key_of({**BODY, **change}) == key_of()


@pytest.mark.parametrize(
    "body",
    [
        last_turn(
            [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {}}]
        ),
        last_turn(""),
        last_turn(" \n"),
        last_turn([]),
        last_turn(None),
        {**BODY, "messages": [*BODY["messages"], {"role": "assistant", "content": "Well,"}]},
        {
            **BODY,
            "messages": [*BODY["messages"], {"role": "tool", "content": "4", "tool_call_id": "c"}],
        },
        {"model": "m", "messages": [{"role": "system", "content": "Be brief."}]},
        {"model": "m", "messages": [{"role": r, "content": "a"} for r in ("tool", "developer")]},
    ],
)
def test_what_has_no_text_to_match_is_exact_only(body: dict[str, Any]) -> None:
    assert key_of(body).text is None


@pytest.mark.parametrize(
    ("text", "is_exact_only"),
    [
        ("Observation: it is sunny", True),
        ("Thought: b\nAction: look\nObservation: sunny\nThought:", True),
        ("**Observation 2:**\nsunny", True),
        ("[[ ## observation_0 ## ]]\nsunny", True),
        ("Tool result: sunny", True),
        ("function_response: sunny", True),
        ("Command output:\nsunny", True),
        ("<tool_response>\nsunny\n</tool_response>", True),
        ("What is an observation?", False),
        ("Observations of the sun: are they safe?", False),
        ("Which tool results in the best output: a saw or a knife?", False),
    ],
)
def test_what_a_tool_gave_is_matched_to_the_letter(text: str, is_exact_only: bool) -> None:
    for content in (text, [{"type": "text", "text": text}]):
        assert (key_of(last_turn(content)).text is None) is is_exact_only


def test_of_a_template_only_the_slot_is_matched_by_meaning() -> None:
    def filled(question: str, seen: str = "sunny") -> CacheKey:
        text = f"Question: {question}\nThought: b\nAction: look\nObservation: {seen}\nThought:"
        return key_of(last_turn(text))

    one, other = filled("What is Valkey?"), filled("Explain Valkey")
    assert (one.text, other.text) == ("What is Valkey?", "Explain Valkey")
    assert one.partition == other.partition != filled("Explain Valkey", "rainy").partition
    assert one.digest != other.digest
    assert one.partition != key_of(last_turn("What is Valkey?")).partition


def test_a_template_may_have_something_done_to_its_slot() -> None:
    assert key_of(last_turn("Translate the text to French.\n\nQuestion: How are you?")).text is None


def test_a_slot_may_stand_in_a_frame_that_is_too_long_to_embed() -> None:
    frame = "Context: " + "Valkey is fast. " * 5000
    assert key_of(last_turn(f"{frame}\nQuestion: What is Valkey?")).text == "What is Valkey?"


@pytest.mark.parametrize(
    "before",
    [
        [{"role": "system", "content": "You are a proofreader. List every mistake"}],
        [{"role": "developer", "content": [{"type": "text", "text": "Translate to French."}]}],
        [
            {"role": "user", "content": "Convert each message to uppercase."},
            {"role": "assistant", "content": "OK"},
        ],
    ],
)
def test_what_instructions_have_something_done_to_is_matched_to_the_letter(
    before: list[dict[str, Any]],
) -> None:
    turn = {"role": "user", "content": "Why do cats purr?"}
    assert key_of({"model": "m", "messages": [*before, turn]}).text is None
    assert key_of({"model": "m", "messages": [turn]}).text is not None


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_closing_reminder_leaves_the_turn_before_it_to_its_meaning(role: str) -> None:
    def reminded(text: str, *reminders: str) -> CacheKey:
        told = [{"role": role, "content": reminder} for reminder in reminders]
        return key_of({**BODY, "messages": [*last_turn(text)["messages"], *told]})

    keys = [reminded(text, "Be brief.") for text in ("What is Valkey?", "Explain Valkey")]
    assert [key.text for key in keys] == ["What is Valkey?", "Explain Valkey"]
    assert keys[0].partition == keys[1].partition != reminded("What is Valkey?").partition
    others = (reminded("What is Valkey?", *told) for told in (["Be"], ["Be brief.", "Be brief."]))
    assert keys[0].partition not in {key.partition for key in others}


def test_images_tell_exact_only_requests_apart() -> None:
    def asking(url: str) -> CacheKey:
        image = {"type": "image_url", "image_url": {"url": url}}
        return key_of(last_turn([{"type": "text", "text": "What is this?"}, image]))

    assert asking("a").digest != asking("b").digest


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "What is Valkey?", "cache_control": {"type": "ephemeral"}}],
        [{"type": "text", "text": "What is"}, {"type": "text", "text": "Valkey?"}],
    ],
)
def test_the_structure_of_the_last_turn_must_match(content: list[dict[str, Any]]) -> None:
    assert key_of(last_turn(content)).partition != key_of().partition


def test_texts_are_told_apart_part_by_part() -> None:
    def parts(*texts: str) -> CacheKey:
        return key_of(last_turn([{"type": "text", "text": text} for text in texts]))

    assert parts("a\nb", "c").digest != parts("a", "b\nc").digest


def test_other_fields_of_the_last_turn_must_match() -> None:
    assert key_of(last_turn("What is Valkey?", name="ann")).partition != key_of().partition


@pytest.mark.parametrize(
    "header",
    [
        (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip"),
        (b"accept-language", b"de"),
        (b"content-language", b"de"),
        (b"content-digest", b"sha-256=:1:"),
        (b"baggage", b"a=1"),
        (b"cache-control", b"max-age=1"),
        (b"content-type", b"application/json"),
        (b"content-length", b"1"),
        (b"host", b"elsewhere"),
        (b"idempotency-key", b"1"),
        (b"traceparent", b"00-1"),
        (b"tracestate", b"a=1"),
        (b"user-agent", b"OpenAI/Python"),
        (b"x-b3-traceid", b"1"),
        (b"x-cache-max-distance", b"0.1"),
        (b"x-cache-tier", b"exact"),
        (b"x-datadog-trace-id", b"1"),
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"x-forwarded-host", b"api.test"),
        (b"x-forwarded-port", b"443"),
        (b"x-forwarded-prefix", b"/llm"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-scheme", b"https"),
        (b"x-forwarded-server", b"edge-1"),
        (b"x-forwarded-ssl", b"on"),
        (b"x-request-id", b"1"),
        (b"x-stainless-retry-count", b"1"),
    ],
)
def test_neutral_headers_take_no_part(header: Header) -> None:
    assert key_of(headers=[*AUTHORIZED, header]) == key_of()


@pytest.mark.parametrize(
    "header",
    [
        (b"openai-organization", b"org-1"),
        (b"openai-project", b"p"),
        (b"openai-beta", b"x"),
        (b"http-referer", b"https://app.test"),
        (b"x-never-heard-of", b"1"),
        *((b"x-forwarded-" + kind, b"a") for kind in WHO),
        (b"accept-version", b"1"),
        (b"content-owner", b"a"),
        (b"x-b3-user", b"a"),
        (b"x-cache-namespace", b"a"),
        (b"api-key", b"k"),
        (b"x-api-key", b"k"),
        (b"cookie", b"a=1"),
    ],
)
def test_every_other_header_is_in_the_partition(header: Header) -> None:
    assert key_of(headers=[*AUTHORIZED, header]).partition != key_of().partition
    changed = (header[0], header[1] + b"2")
    assert (
        key_of(headers=[*AUTHORIZED, changed]).partition
        != key_of(headers=[*AUTHORIZED, header]).partition
    )


def test_the_order_of_different_headers_does_not_matter_and_that_of_equal_ones_does() -> None:
    a: Header = (b"x-a", b"1")
    b: Header = (b"cookie", b"1")
    assert key_of(headers=[a, b]) == key_of(headers=[b, a])
    twice: Header = (b"x-a", b"2")
    assert key_of(headers=[a, twice]) != key_of(headers=[twice, a])


def test_ignored_headers_take_no_part_and_credentials_cannot_be_ignored() -> None:
    ignored = frozenset({b"x-mine", b"cookie"})
    rules = KeyRules(upstream=RULES.upstream, ignored_headers=ignored)
    assert key_of(headers=[(b"x-mine", b"1")], rules=rules) == key_of(headers=[], rules=rules)
    assert key_of(headers=[(b"cookie", b"1")], rules=rules) != key_of(headers=[], rules=rules)


@pytest.mark.parametrize(
    "name",
    [
        b"accept-language",
        b"baggage",
        b"x-forwarded-host",
        b"x-stainless-lang",
        b"x-mine",
        b"cookie",
    ],
)
def test_key_headers_take_part_whatever_else_is_said_of_them(name: bytes) -> None:
    rules = KeyRules(RULES.upstream, Isolation.SHARED, ignored_headers=frozenset({b"x-mine"}))
    naming = replace(rules, key_headers=frozenset({name}))
    one, other = ([*AUTHORIZED, (name, value)] for value in (b"a", b"b"))
    assert key_of(headers=one, rules=rules) == key_of(headers=other, rules=rules)
    assert key_of(headers=one, rules=naming) != key_of(headers=other, rules=naming)
    assert key_of(rules=rules) == key_of(rules=naming)


def test_path_query_and_upstream_are_in_the_partition() -> None:
    keys = [
        key_of(),
        key_of(path=b"/deployments/a/chat/completions"),
        key_of(query=b"api-version=1"),
        key_of(rules=KeyRules(upstream="https://other.test/v1")),
    ]
    assert len({key.partition for key in keys}) == len(keys)


@pytest.mark.parametrize(
    ("isolation", "shared_by_users", "shared_by_credentials"),
    [
        (Isolation.USER, False, False),
        (Isolation.CREDENTIAL, True, False),
        (Isolation.SHARED, True, True),
    ],
)
def test_isolation_says_who_shares(
    isolation: Isolation, shared_by_users: bool, shared_by_credentials: bool
) -> None:
    rules = KeyRules(upstream=RULES.upstream, isolation=isolation)
    ann = key_of({**BODY, "user": "ann"}, rules=rules)
    bob = key_of({**BODY, "user": "bob"}, rules=rules)
    safe = key_of({**BODY, "user": "ann", "safety_identifier": "s"}, rules=rules)
    elsewhere = key_of({**BODY, "user": "ann"}, [(b"authorization", b"Bearer sk-2")], rules)
    assert (ann == bob) is shared_by_users
    assert (ann == safe) is shared_by_users
    assert (ann == elsewhere) is shared_by_credentials


def test_a_secret_changes_every_digest_and_shows_nowhere() -> None:
    secret = KeyRules(upstream=RULES.upstream, secret=b"hush")
    other = KeyRules(upstream=RULES.upstream, secret=b"hush!")
    keys = [key_of(rules=rules) for rules in (RULES, secret, other)]
    assert len({key.partition for key in keys}) == len({key.digest for key in keys}) == 3
    assert "hush" not in repr(secret)


def test_digests_are_lower_case_hex_and_hold_nothing_readable() -> None:
    key = key_of()
    for digest in (key.partition, key.digest):
        assert len(digest) == 64
        assert set(digest) <= set("0123456789abcdef")


def test_every_line_of_a_namespace_counts() -> None:
    one: Header = (b"x-cache-namespace", b"a")
    two: Header = (b"x-cache-namespace", b"b")
    partitions = {key_of(headers=lines).partition for lines in ([one], [one, two], [two, one])}
    assert len(partitions) == 3


@pytest.mark.parametrize(
    ("headers", "credential", "named"),
    [
        ([(b"authorization", b"Bearer sk-1")], b"Bearer sk-1", True),
        ([(b"authorization", b"Bearer sk-1")], b"sk-1", True),
        ([(b"authorization", b"bearer  sk-1")], b"Bearer sk-1 ", True),
        ([(b"api-key", b"sk-1")], b"sk-1", True),
        ([(b"x-api-key", b"sk-1")], b"Bearer sk-1", True),
        ([(b"authorization", b"Basic YTpi")], b"Basic YTpi", True),
        ([(b"authorization", b"Bearer sk-1"), (b"api-key", b"sk-2")], b"sk-2", True),
        ([(b"cookie", b"lang=en; session=1")], b"session=1", True),
        ([(b"authorization", b"Bearer sk-1"), (b"cookie", b"session=1")], b"session=1", False),
        ([(b"authorization", b"Bearer sk-1")], b"sk", False),
        ([(b"authorization", b"Bearer")], b"", False),
        ([(b"x-other", b"sk-1")], b"sk-1", False),
        ([], b"", False),
    ],
)
def test_a_caller_is_named_by_each_credential(
    headers: list[Header], credential: bytes, named: bool
) -> None:
    assert is_named(callers_of(headers, RULES), caller_name(credential, RULES)) is named


def test_a_callers_name_tells_nothing_of_the_credential() -> None:
    secret = replace(RULES, secret=b"s")
    assert caller_name(b"sk-1", RULES) != caller_name(b"sk-1", secret)
    assert "sk-1" not in callers_of(AUTHORIZED, RULES)
