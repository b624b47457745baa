import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.models import ClientRequest, Header
from app.dialects.chat_completions.request import ChatRequest
from app.rules.key import Isolation, KeyRules, build_key
from app.rules.key_parts import CALLER, differences, key_parts, parts_of, parts_text

RULES = KeyRules(upstream="https://upstream.test/v1")
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "What is Valkey?"},
    ],
}
FRAMED = {"role": "user", "content": "Question: What is Valkey?\nAnswer:"}
ANN: Header = (b"authorization", b"Bearer sk-ann")
BOB: Header = (b"authorization", b"Bearer sk-bob")


def asked(
    body: dict[str, Any],
    headers: list[Header],
    path: bytes = b"/chat/completions",
    query: bytes = b"",
) -> tuple[ClientRequest, ChatRequest]:
    raw = json.dumps(body).encode()
    return ClientRequest("POST", path, query, headers, raw), ChatRequest.parse(raw)


def parts(
    body: dict[str, Any] = BODY, *headers: Header, rules: KeyRules = RULES, **line: bytes
) -> dict[str, str]:
    return key_parts(*asked(body, [ANN, *headers], **line), rules)


def messages(*contents: str) -> dict[str, Any]:
    return {**BODY, "messages": [{"role": "user", "content": content} for content in contents]}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (parts(), []),
        (parts({**BODY, "stream": True}), []),
        (parts({**BODY, "temperature": 0.5}), ["body.temperature"]),
        (parts({**BODY, "tools": []}), []),
        (parts({**BODY, "stop": ""}), ["body.stop"]),
        (parts({**BODY, "model": "n", "seed": 1}), ["body.model", "body.seed"]),
        (parts({**BODY, "caller": 1}), ["body.caller"]),
        (parts({**BODY, "messages": [*BODY["messages"][:-1], FRAMED]}), ["frame"]),
        (parts({**BODY, "what is this?": 1}), ["body-others"]),
        (parts({**BODY, "x" * 41: 1}), ["body-others"]),
        (parts(messages("What is Valkey?")), ["messages-before"]),
        (parts(messages("Be kind.", "What is Valkey?")), ["messages-before"]),
        (
            parts({**BODY, "messages": [*BODY["messages"], {"role": "tool", "content": "4"}]}),
            ["messages-before", "last-message"],
        ),
        (parts(BODY, (b"openai-beta", b"x")), ["header.openai-beta"]),
        (parts(BODY, (b"x-forwarded-user", b"ann")), ["header.x-forwarded-user"]),
        (parts(BODY, (b"x" * 41, b"x")), ["header-others"]),
        (parts(BODY, (b"cookie", b"AWSALB=1")), []),
        (parts(BODY, (b"cookie", b"AWSALB=1; session=2")), ["cookie.session"]),
        (parts(BODY, (b"cookie", b"a b=2")), ["cookie-others"]),
        (parts(BODY, (b"x-cache-namespace", b"a")), ["namespace"]),
        (parts(BODY, query=b"a=1"), ["query"]),
        (parts(BODY, path=b"/elsewhere"), ["path"]),
        (parts(rules=KeyRules("https://other.test/v1")), ["upstream"]),
    ],
)
def test_what_differs_is_named(other: dict[str, str], expected: list[str]) -> None:
    assert differences(parts(), other) == expected


def test_parts_of_different_callers_have_nothing_in_common() -> None:
    ours, theirs = parts(), key_parts(*asked(BODY, [BOB]), RULES)
    assert ours.keys() == theirs.keys()
    assert differences(ours, theirs) == list(ours)
    secret = parts(rules=KeyRules(RULES.upstream, secret=b"hush"))
    assert differences(ours, secret) == list(ours)


@pytest.mark.parametrize(
    ("isolation", "same"),
    [(Isolation.USER, False), (Isolation.CREDENTIAL, True), (Isolation.SHARED, True)],
)
def test_the_caller_is_whoever_shares(isolation: Isolation, same: bool) -> None:
    rules = KeyRules(RULES.upstream, isolation)
    users = (parts({**BODY, "user": name}, rules=rules) for name in ("ann", "bob"))
    assert len({told[CALLER] for told in users}) == (1 if same else 2)
    callers = (key_parts(*asked(BODY, [header]), rules)[CALLER] for header in (ANN, BOB))
    assert len(set(callers)) == (1 if isolation is Isolation.SHARED else 2)


FIELDS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["seed", "stop", "tools", "user", "what is this?"]),
    st.sampled_from([None, 0, 0.0, False, "", [], {}]),
    max_size=2,
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"authorization", b"cookie", b"x-a", b"x-b", b"x-cache-namespace"]),
        st.sampled_from([b"", b"1", b"route=1", b"a=1;route=1", b"route=2;a=2;a=1"]),
    ),
    max_size=2,
)
REQUESTS = st.builds(
    lambda fields, said, headers, query: asked(
        {"model": "m", **fields, **messages(*said)}, headers, query=query
    ),
    FIELDS,
    st.lists(st.sampled_from(["", "a"]), min_size=1, max_size=2),
    HEADERS,
    st.sampled_from([b"", b"a=1"]),
)


@given(REQUESTS, REQUESTS, st.sampled_from(Isolation))
def test_parts_are_the_same_exactly_if_partitions_are(
    one: tuple[ClientRequest, ChatRequest],
    other: tuple[ClientRequest, ChatRequest],
    isolation: Isolation,
) -> None:
    rules = KeyRules(RULES.upstream, isolation)
    is_same = build_key(*one, rules).partition == build_key(*other, rules).partition
    assert (differences(key_parts(*one, rules), key_parts(*other, rules)) == []) is is_same


@given(REQUESTS)
def test_parts_come_back_from_their_text(request: tuple[ClientRequest, ChatRequest]) -> None:
    told = key_parts(*request, RULES)
    assert parts_of(parts_text(told)) == told


def test_however_many_fields_there_are_the_text_stays_short() -> None:
    told = parts({**BODY, **{f"field_{index}": index for index in range(1000)}})
    assert len(parts_text(told)) < 2500
    assert "body-others" in told


@given(st.text())
def test_of_any_other_text_what_can_be_read_is_read(text: str) -> None:
    assert all(isinstance(digest, str) for digest in parts_of(text).values())
