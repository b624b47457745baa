"""The law of replays: a client that assembles the events of a response gets the same response."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from app.core.cache_status import CacheStatus, Outcome
from app.dialects.dialect import Answer
from app.dialects.responses.request import ResponsesRequest
from app.dialects.sse import EventParser
from tests.responding import RESPONSES, message, part, response

STATUS = CacheStatus(Outcome.HIT)
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def asked(**fields: Any) -> ResponsesRequest:
    return ResponsesRequest.parse(json.dumps({"model": "m", "input": "hi", **fields}).encode())


def read(body: bytes, *cuts: int, **fields: Any) -> Answer:
    """Read an answer whose bytes come in pieces."""
    reader = asked(**fields).reader(is_stream=bool(fields.get("stream")))
    for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True):
        reader.feed(body[a:b])
    reader.end()
    return reader.read()


def rendered(content: bytes, **fields: Any) -> bytes:
    return asked(**fields).render(content, STATUS, nonce="f" * 32, now=1e9).body


def events_in(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(event.data) for event in EventParser().feed(body)]


@settings(max_examples=60)
@given(RESPONSES, st.data())
def test_an_answer_told_in_events_is_the_same_answer(
    told: dict[str, Any], data: st.DataObject
) -> None:
    whole = read(json.dumps(told).encode())
    assert whole.unfit is None
    assert json.loads(whole.content) == told
    body = rendered(whole.content, stream=True)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=5)))
    again = read(body, *cuts, stream=True)
    assert again == whole
    assert json.loads(rendered(again.content)) == told


def unparsed(value: Any) -> Any:
    """Return a value without the fields that the SDK itself adds."""
    if isinstance(value, list):
        return [unparsed(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {n: unparsed(v) for n, v in value.items() if n not in {"parsed", "parsed_arguments"}}


@settings(max_examples=30)
@given(RESPONSES)
def test_the_official_types_know_every_event_and_the_sdk_adds_them_up(told: dict[str, Any]) -> None:
    events = events_in(rendered(json.dumps(told).encode(), stream=True))
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=[], text_format=omit)
    for event in events:
        state.handle_event(EVENT.validate_python(event, strict=False))
    final = state._completed_response
    assert final is not None
    assert unparsed(final.to_dict()) == Response.model_validate(told).to_dict()


@settings(max_examples=60)
@given(RESPONSES)
def test_what_the_pieces_add_up_to_is_what_the_last_event_tells(told: dict[str, Any]) -> None:
    items: list[dict[str, Any]] = []
    for event in events_in(rendered(json.dumps(told).encode(), stream=True)):
        _add(items, event)
    assert items == told["output"]


OPENED = {"content_part.added": "content", "reasoning_summary_part.added": "summary"}
PIECES = {
    "output_text.delta": ("content", "content_index", "text"),
    "reasoning_text.delta": ("content", "content_index", "text"),
    "reasoning_summary_text.delta": ("summary", "summary_index", "text"),
}
ARGUMENTS = {
    "function_call_arguments.delta": "arguments",
    "custom_tool_call_input.delta": "input",
}


def _add(items: list[dict[str, Any]], event: Mapping[str, Any]) -> None:
    """Add an event to `items`, as a client does that ignores repeated values."""
    kind = event["type"].removeprefix("response.")
    if kind == "output_item.added":
        items.append(event["item"])
    elif parts := OPENED.get(kind):
        items[event["output_index"]][parts].append(event["part"])
    elif kind in PIECES:
        parts, index, field = PIECES[kind]
        items[event["output_index"]][parts][event[index]][field] += event["delta"]
    elif field := ARGUMENTS.get(kind, ""):
        items[event["output_index"]][field] += event["delta"]
    elif kind == "output_text.annotation.added":
        part = items[event["output_index"]]["content"][event["content_index"]]
        part["annotations"].append(event["annotation"])
    elif kind == "content_part.done":
        part = items[event["output_index"]]["content"][event["content_index"]]
        tokens = {n: v for n, v in event["part"].items() if n == "logprobs"}
        part.update(tokens)  # events tell them without their bytes
        assert part == event["part"]
    elif kind == "output_item.done":
        item = items[event["output_index"]]
        item.update({n: v for n, v in event["item"].items() if n == "status"})
        assert item == event["item"]


def test_what_refuses_or_was_cut_is_told_in_events_to_those_who_asked_the_same() -> None:
    refusal = {"type": "refusal", "refusal": "I cannot."}
    for told, end in (
        (response(message(refusal)), "response.completed"),
        (
            response(
                message(part("Val"), status="incomplete"),
                status="incomplete",
                incomplete_details={"reason": "max_output_tokens"},
            ),
            "response.incomplete",
        ),
    ):
        answer = read(json.dumps(told).encode())
        assert answer.unfit
        assert answer.whole
        events = events_in(rendered(answer.content, stream=True))
        assert [EVENT.validate_python(event).type for event in events][-1] == end
        assert events[-1]["response"] == told


@pytest.mark.parametrize("stream", [False, True])
def test_only_what_the_upstream_does_not_store_gets_a_new_id(stream: bool) -> None:
    content = json.dumps(response()).encode()
    for store, name, times in (
        (True, "resp_upstream", (1_600_000_000, 1_600_000_001)),
        (None, "resp_upstream", (1_600_000_000, 1_600_000_001)),
        (False, f"resp_{'f' * 32}", (1_000_000_000, 1_000_000_000)),
    ):
        body = rendered(content, stream=stream, store=store)
        told = [e["response"] for e in events_in(body) if "response" in e] if stream else []
        for one in told or [json.loads(body)]:
            assert one["id"] == name
            assert one["created_at"] == times[0]
            assert one["completed_at"] in (times[1], None)


@pytest.mark.parametrize("stream", [False, True])
def test_nobody_is_told_what_another_caller_has_said_of_himself(stream: bool) -> None:
    ann: dict[str, Any] = {"user": "ann", "metadata": {"a": "1"}, "prompt_cache_key": "k"}
    answer = read(json.dumps(response(**ann)).encode(), **ann)
    assert b'"ann"' not in answer.content
    for said in (ann, {"user": "bob", "metadata": None, "prompt_cache_key": None}):
        body = rendered(answer.content, stream=stream, **said)
        told = events_in(body)[-1]["response"] if stream else json.loads(body)
        assert told == response(**{**said, "metadata": said["metadata"] or {}})


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"status":"completed","output":[{}]}'])
def test_what_is_no_response_is_not_rendered(content: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        rendered(content, stream=True)
