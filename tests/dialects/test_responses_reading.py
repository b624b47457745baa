"""Which answers to Responses requests are stored, and which requests they may answer."""

import json
from typing import Any

import pytest

from app.core.errors import NotUnderstood
from app.dialects.dialect import Answer
from app.dialects.responses.request import Responses
from tests.responding import call, message, part, reasoning, response, sse

FUNCTION = {"type": "function", "name": "get_weather", "parameters": {"required": ["city"]}}
JSON_TEXT = {"format": {"type": "json_schema", "name": "a", "schema": {}}}
REFUSAL = {"type": "refusal", "refusal": "I cannot."}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}}


def read(body: bytes, *, stream: bool = False, **fields: Any) -> Answer:
    request = {"model": "m", "input": "hi", "stream": stream, **fields}
    reader = Responses().parse(json.dumps(request).encode()).reader(is_stream=stream)
    reader.feed(body)
    reader.end()
    return reader.read()


@pytest.mark.parametrize(
    ("told", "unfit"),
    [
        (response(), None),
        (response(reasoning("Hm."), message(part("Yes."))), None),
        (response(call()), None),
        (response(call(arguments="")), "invalid-json"),
        (response(call(arguments="{")), "invalid-json"),
        (response(call(name="other", arguments="")), None),
        (response(message(REFUSAL)), "refusal"),
        (response(message(part("Yes."), REFUSAL)), "refusal"),
        (response(message(part(" "))), "empty"),
        (response(reasoning("Hm.")), "empty"),
        (response(SEARCH, message(part("Yes."))), "hosted-tool"),
        (response({"type": "mcp_call"}, message(part("Yes."))), "hosted-tool"),
        (response(message(part("Yes."), status="incomplete")), "incomplete"),
        (response(message({"type": "output_audio"})), "audio"),
        (response(message({"type": "poem"})), "unknown-body"),
        (response(message({"type": "output_text"})), "unknown-body"),
        (response({"type": "reasoning", "summary": ["Hm."]}), "unknown-body"),
        (response({"type": "custom_tool_call", "input": 1}), "unknown-body"),
        (response(status="incomplete"), "finish-reason"),
        (response(status="in_progress"), "incomplete"),
        (response(status="queued"), "incomplete"),
        (response(status="cancelled"), "incomplete"),
        (response(status=None), "incomplete"),
        (response(status="failed"), "error"),
        (response(error={"code": "server_error"}), "error"),
        ({"error": {"message": "no"}}, "error"),
        (response(id=None), "unknown-body"),
        (response(output={}), "unknown-body"),
        (response(output=["hi"]), "unknown-body"),
        (response(output=[]), "empty"),
        ({}, "unknown-body"),
    ],
)
def test_only_a_whole_answer_is_stored(told: dict[str, Any], unfit: str | None) -> None:
    body = json.dumps(told).encode()
    answer = read(body, tools=[FUNCTION])
    assert answer.unfit == unfit
    assert Responses().why_not_stored(told) == (
        None if told == response(call(arguments="")) else unfit
    )
    end = {"type": "response.completed", "response": told}
    assert read(sse(end), stream=True, tools=[FUNCTION]) == answer


@pytest.mark.parametrize(
    ("output", "unfit"),
    [
        ([message(part('{"a": 1}'))], None),
        ([message(part("Yes."))], "invalid-json"),
        (
            [message(part("Hm."), phase="commentary"), message(part("1"), phase="final_answer")],
            None,
        ),
        ([message(part("Hm."), phase="commentary")], "empty"),
        ([call()], None),
    ],
)
def test_what_must_be_json_is_stored_only_if_it_is(output: Any, unfit: str | None) -> None:
    assert read(json.dumps(response(*output)).encode(), text=JSON_TEXT).unfit == unfit


@pytest.mark.parametrize(
    ("choice", "exact_only"),
    [
        ("auto", True),
        ("required", False),
        ({"type": "function", "name": "get_weather"}, False),
        ({"type": "function", "name": "other"}, True),
        ({"type": "allowed_tools", "mode": "required", "tools": [FUNCTION]}, False),
        ({"type": "allowed_tools", "mode": "auto", "tools": [FUNCTION]}, True),
    ],
)
def test_a_call_answers_the_very_same_question_only_unless_it_was_forced(
    choice: Any, exact_only: bool
) -> None:
    body = json.dumps(response(call())).encode()
    assert read(body, tools=[FUNCTION], tool_choice=choice).exact_only == exact_only


def test_a_call_of_nothing_by_name_answers_the_very_same_question_only() -> None:
    assert read(json.dumps(response(call(name=None))).encode()).exact_only


def test_the_upstreams_id_is_known_of_what_it_stores() -> None:
    body = json.dumps(response()).encode()
    names = [read(body, store=store).upstream_id for store in (None, True, False)]
    assert names == ["resp_upstream", "resp_upstream", ""]


@pytest.mark.parametrize(
    ("events", "unfit"),
    [
        ([], "incomplete"),
        ([{"type": "response.created", "response": response(status="in_progress")}], "incomplete"),
        (
            [{"type": "response.incomplete", "response": response(status="incomplete")}],
            "finish-reason",
        ),
        ([{"type": "response.failed", "response": response(status="failed")}], "error"),
        ([{"type": "error", "message": "no"}], "error"),
        (
            [
                {"type": "error", "message": "no"},
                {"type": "response.completed", "response": response()},
            ],
            "error",
        ),
    ],
)
def test_a_stream_that_does_not_complete_is_not_stored(events: Any, unfit: str) -> None:
    assert read(sse(*events), stream=True).unfit == unfit


def test_a_stream_is_over_with_its_last_event() -> None:
    request = Responses().parse(b'{"model": "m", "input": "hi", "stream": true}')
    reader = request.reader(is_stream=True)
    body = sse({"type": "response.completed", "response": response()})
    reader.feed(body[:-1])
    assert not reader.is_complete
    reader.feed(body[-1:])
    assert reader.is_complete


def test_items_that_are_not_told_again_at_the_end_are_known() -> None:
    first, second = message(part("a")), message(part("b"), id="msg_2")
    told = response()
    del told["output"]
    events: list[Any] = [
        {"type": "response.output_item.done", "output_index": 1, "item": second},
        {"type": "response.output_item.done", "output_index": 0, "item": first},
        {"type": "response.completed", "response": told},
    ]
    assert json.loads(read(sse(*events), stream=True).content)["output"] == [first, second]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.completed"},
        {"type": "response.completed", "response": []},
        {"type": "response.output_item.done", "item": {}},
        ["response.completed"],
    ],
)
def test_events_of_another_shape_are_not_understood(event: Any) -> None:
    with pytest.raises(NotUnderstood):
        read(f"data: {json.dumps(event)}\n\n".encode(), stream=True)
