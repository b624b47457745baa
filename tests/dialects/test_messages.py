"""Anthropic's Messages: which requests use the cache, which bypass it, which answers are stored."""

import json
from typing import Any

import pytest

from app.core.cache_status import BypassReason
from app.core.errors import NotUnderstood
from app.core.models import Fullness
from app.dialects.messages.request import Messages, MessagesRequest
from tests.dialects.messages import asked, body_of, message, read

MARK: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}
TEXT = {"type": "text", "text": "Hi"}
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "12"}
HM = {"type": "thinking", "thinking": "Hm", "signature": "s"}
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
DEMANDING = {"name": "f", "input_schema": {"type": "object", "required": ["a"]}}


def conversation(*messages: dict[str, Any], **fields: Any) -> MessagesRequest:
    document = {"model": "m", "max_tokens": 9, "messages": messages, **fields}
    return MessagesRequest.parse(json.dumps(document).encode())


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def call(call_id: str = "toolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "f", "input": {"a": 1}, **fields}


@pytest.mark.parametrize(
    ("messages", "texts"),
    [
        ([user("Hi")], ["Hi"]),
        ([user([TEXT])], ["Hi"]),
        ([user([TEXT, {**TEXT, "text": "Ho"}])], ["Hi", "Ho"]),
        ([user("a"), assistant(TEXT), user("b")], ["b"]),
        ([user("a"), user("b")], ["b"]),
        ([user("a"), {"role": "system", "content": "Be short."}], ["a"]),
        ([user("a"), assistant({**TEXT, "text": "The answer is ("})], None),
        ([user([])], None),
        ([user([TEXT, IMAGE])], None),
        ([user([{"type": "document", "source": {}}, TEXT])], None),
        ([user("a"), assistant(call()), user([RESULT])], None),
        ([user("a"), assistant(call()), user([RESULT, TEXT])], None),
        ([user([{"type": "text", "text": 1}])], None),
        ([{"role": "system", "content": "Be short."}], None),
    ],
)
def test_only_the_text_of_the_last_user_turn_is_matched_by_meaning(
    messages: list[dict[str, Any]], texts: list[str] | None
) -> None:
    assert conversation(*messages).texts == texts


def test_nothing_is_matched_by_meaning_where_nothing_may_be_embedded() -> None:
    parsed = Messages(exact_only=True).parse(body_of())
    assert parsed.texts is None
    assert parsed.must_match["messages"] == [user("Hi")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (asked(), asked("Ho")),
        (asked(), asked([TEXT])),
        (asked(), asked([{**TEXT, **MARK}])),
        (asked(), asked([{**TEXT, "citations": None}])),
        (asked(), asked(**MARK)),
        (asked(), asked(stream=True, metadata={"user_id": "u"}, service_tier="auto")),
        (asked(), asked(temperature=1.0, stop_sequences=[], tools=[], mcp_servers=[])),
        (asked(), asked(top_k=None, thinking=None, system=None, container=None)),
        (asked(tools=[TOOL]), asked(tools=[{**TOOL, **MARK}])),
        (asked(tools=[TOOL]), asked(tools=[TOOL], tool_choice={"type": "auto"})),
        (asked(system="Be short."), asked(system=[{"type": "text", "text": "Be short.", **MARK}])),
        (
            conversation(user("a"), assistant(call()), user([RESULT])),
            conversation(user([{"type": "text", "text": "a", **MARK}]), assistant(call(**MARK)),
                         user([{**RESULT, "content": "12", **MARK}])),
        ),
        (
            conversation(user([{**RESULT, "content": [TEXT]}])),
            conversation(user([{**RESULT, "content": [{**TEXT, **MARK}]}])),
        ),
        (
            conversation(user("a"), assistant(call("x1")), user([{**RESULT, "tool_use_id": "x1"}])),
            conversation(user("a"), assistant(call("y2")), user([{**RESULT, "tool_use_id": "y2"}])),
        ),
    ],
)  # fmt: skip
def test_what_cannot_change_the_answer_takes_no_part(
    one: MessagesRequest, other: MessagesRequest
) -> None:
    assert one.must_match == other.must_match


MARKED_TOOL = {"name": "f", "input_schema": {"properties": {"cache_control": {}}}}
BARE_TOOL = {"name": "f", "input_schema": {"properties": {}}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (asked(), asked(max_tokens=10)),
        (asked(), asked(model="n")),
        (asked(), asked(system="Be short.")),
        (asked(), asked(temperature=0.5)),
        (asked(), asked(top_p=0.5)),
        (asked(), asked(top_k=5)),
        (asked(), asked(stop_sequences=["a"])),
        (asked(), asked(thinking={"type": "enabled", "budget_tokens": 1024})),
        (asked(), asked(thinking={"type": "disabled"})),
        (asked(), asked(output_config={"effort": "low"})),
        (asked(), asked(inference_geo="eu")),
        (asked(), asked(tools=[TOOL])),
        (asked(tools=[TOOL]), asked(tools=[TOOL], tool_choice={"type": "none"})),
        (asked(), asked(unheard_of=1)),
        (asked(), asked([TEXT, TEXT])),
        (asked([TEXT, IMAGE]), asked([IMAGE, TEXT])),
        (asked([{**TEXT, "citations": [1]}]), asked()),
        (asked(tools=[MARKED_TOOL]), asked(tools=[BARE_TOOL])),
        (
            conversation(user("a"), assistant(call(input=MARK)), user([RESULT])),
            conversation(user("a"), assistant(call(input={})), user([RESULT])),
        ),
        (
            conversation(user("what is x1?"), assistant(call("x1"))),
            conversation(user("what is x1?"), assistant(call("y2"))),
        ),
        (
            conversation(user("a"), assistant(call("x1"), call("x2")), user([RESULT])),
            conversation(user("a"), assistant(call("x1"), call("x1")), user([RESULT])),
        ),
        (
            conversation(user("a"), assistant(HM)),
            conversation(user("a"), assistant({**HM, "signature": "t"})),
        ),
    ],
)  # fmt: skip
def test_what_can_change_the_answer_takes_part(
    one: MessagesRequest, other: MessagesRequest
) -> None:
    assert one.must_match != other.must_match


def test_ids_that_are_no_texts_stay_as_they_are() -> None:
    odd = conversation(user("a"), assistant(call(id={"a": 1}), call(id=None)))
    assert [block["id"] for block in odd.must_match["messages"][1]["content"]] == [{"a": 1}, None]


def test_who_asks_is_what_the_metadata_says() -> None:
    assert asked(metadata={"user_id": "u"}).end_user == ["u"]
    assert asked(metadata={"user_id": None}).end_user == asked().end_user == [None]
    assert asked(metadata={"user_id": "u"}).treatment
    assert not asked().treatment


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"model": "m"}',
        b'{"messages": [{"role": "user", "content": "Hi"}]}',
        body_of(model=1),
        body_of(messages=[]),
        body_of(messages=["Hi"]),
        body_of(messages=[{"role": "user"}]),
        body_of(messages=[{"content": "Hi"}]),
        body_of([1]),
        body_of([{"text": "Hi"}]),
        body_of(system=1),
        body_of(system=[1]),
        body_of(stream=1),
        body_of(temperature="hot"),
        body_of(metadata=[]),
        body_of(metadata={"user_id": 1}),
    ],
)
def test_what_is_not_known_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstood, match="unknown-body"):
        MessagesRequest.parse(body)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"tools": [TOOL, {**TOOL, "type": "custom"}, {**TOOL, "type": None}]}, None),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, None),
        ({"tools": [{"type": "text_editor_20250728", "name": "e"}]}, None),
        ({"tools": [{"type": "computer_20251124"}, {"type": "memory_20250818"}]}, None),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "hosted-tool"),
        ({"tools": [TOOL, {"type": "web_fetch_20260318"}]}, "hosted-tool"),
        ({"tools": [{"type": "code_execution_20260521"}]}, "hosted-tool"),
        ({"tools": [{"type": "tool_search_tool_bm25_20251119"}]}, "hosted-tool"),
        ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "a"}]}, "hosted-tool"),
        ({"tools": [{"type": "advisor_20260301"}]}, "hosted-tool"),
        ({"tools": [{"type": 1}]}, "hosted-tool"),
        ({"tools": ["f"]}, "hosted-tool"),
        ({"mcp_servers": [{"type": "url", "url": "https://a", "name": "a"}]}, "hosted-tool"),
        ({"container": "container_1"}, "hosted-tool"),
        ({"thread": {"type": "create"}}, "conversation"),
        ({"temperature": 1.5}, "temperature"),
    ],
)
def test_what_looks_at_the_world_goes_past_the_cache(
    fields: dict[str, Any], reason: BypassReason | None
) -> None:
    assert asked(**fields).bypass_reason(1.0) == reason


@pytest.mark.parametrize(
    ("messages", "question"),
    [
        ([user("Hi")], "Hi"),
        ([user([TEXT, IMAGE])], "Hi"),
        ([user("Hi"), assistant(TEXT)], "Hi"),
        ([user("Hi"), assistant(call()), user([RESULT, TEXT])], ""),
        ([user([{"type": "text", "text": 1}])], ""),
        ([assistant(TEXT)], ""),
    ],
)
def test_the_question_is_the_last_text_of_the_user(
    messages: list[dict[str, Any]], question: str
) -> None:
    assert conversation(*messages).question == question


def test_what_tells_what_is_to_be_done_is_known() -> None:
    told = conversation(
        user("Translate what follows."),
        assistant(TEXT),
        {"role": "system", "content": [{"type": "text", "text": "Be short."}]},
        user("Hi"),
        system=[{"type": "text", "text": "Be kind."}],
    )
    assert list(told.instructions) == ["Be kind.", "Translate what follows.", "Be short."]
    assert list(asked().instructions) == [""]


FORCED = {"tools": [DEMANDING], "tool_choice": {"type": "tool", "name": "f"}}
JSON = {"output_config": {"format": {"type": "json_schema", "schema": {}}}}
SAID = {"type": "text", "text": "Hi"}


@pytest.mark.parametrize(
    ("fields", "answer", "reason"),
    [
        ({}, message(), None),
        ({}, message(HM, SAID), None),
        ({}, message({"type": "redacted_thinking", "data": "x"}, SAID), None),
        ({}, message(stop_reason="stop_sequence", stop_sequence="."), None),
        ({}, message(call()), None),
        ({}, message(call(input={})), None),
        ({"tools": [DEMANDING]}, message(call(input={})), "invalid-json"),
        (JSON, message({"type": "text", "text": '{"a": 1}'}), None),
        (JSON, message(), "invalid-json"),
        ({"output_format": {"type": "json_schema"}}, message(), "invalid-json"),
        ({}, message(stop_reason=None), "incomplete"),
        ({}, message(stop_reason="tool_use"), "incomplete"),
        ({}, message(stop_reason="max_tokens"), "finish-reason"),
        ({}, message(stop_reason="pause_turn"), "finish-reason"),
        ({}, message(stop_reason="model_context_window_exceeded"), "finish-reason"),
        ({}, message(stop_reason=1), "finish-reason"),
        ({}, message(stop_reason="refusal"), "refusal"),
        ({}, message(content=[]), "empty"),
        ({}, message(HM), "empty"),
        ({}, message({"type": "text", "text": " \n"}), "empty"),
        ({}, message(usage=None), "unknown-body"),
        ({}, message(type="thing"), "unknown-body"),
        ({}, message(container={"id": "c", "expires_at": ""}), "unknown-body"),
        ({}, message({"type": "server_tool_use", "id": "a"}, SAID), "unknown-body"),
        ({}, message({"type": "text", "text": None}), "unknown-body"),
        ({}, message({"type": "text", "text": "a", "citations": 1}), "unknown-body"),
        ({}, message({"type": "thinking", "thinking": None}), "unknown-body"),
        ({}, message(call(input="{}")), "unknown-body"),
        ({}, message(call(name=None)), "unknown-body"),
        ({}, message(content="Hi"), "unknown-body"),
        ({}, message(content=["Hi"]), "unknown-body"),
        ({}, {"type": "error", "error": {"type": "overloaded_error"}}, "error"),
        ({}, message(error={"type": "overloaded_error"}), "error"),
    ],
)
def test_only_complete_answers_are_stored(
    fields: dict[str, Any], answer: dict[str, Any], reason: str | None
) -> None:
    read_ = read(asked(**fields), json.dumps(answer).encode(), is_stream=False)
    assert read_.unfit == reason
    assert read_.fullness is Fullness.ALL
    if reason != "invalid-json":  # which is for those who ask for JSON
        assert Messages().why_not_stored(answer) == reason


@pytest.mark.parametrize(
    ("fields", "answer", "exact_only"),
    [
        ({}, message(), False),
        ({}, message(HM, SAID), False),
        ({"tools": [TOOL]}, message(call()), True),
        (FORCED, message(call()), False),
        (FORCED, message(call(name="g")), True),
        ({"tools": [DEMANDING], "tool_choice": {"type": "any"}}, message(call()), False),
        ({"tools": [TOOL, TOOL], "tool_choice": {"type": "any"}}, message(call()), True),
        ({"tools": [TOOL], "tool_choice": {"type": "auto"}}, message(call()), True),
    ],
)
def test_an_answer_that_calls_a_tool_serves_its_very_question_only(
    fields: dict[str, Any], answer: dict[str, Any], exact_only: bool
) -> None:
    read_ = read(asked(**fields), json.dumps(answer).encode(), is_stream=False)
    assert (read_.unfit, read_.exact_only) == (None, exact_only)


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff"])
def test_what_is_no_message_is_not_understood(body: bytes) -> None:
    with pytest.raises((NotUnderstood, UnicodeDecodeError)):
        read(asked(), body, is_stream=False)
