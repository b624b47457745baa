"""Messages as events: a replay gives the same message, and malformed streams are refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.cache_status import CacheStatus, Outcome
from app.core.errors import NotUnderstood
from app.dialects.messages.events import MessageBuilder, events_of
from tests.dialects.messages import MESSAGES, asked, message, read, replay

DEEP = b'{"content":[{"type":' + b"[" * 5000 + b"]" * 5000 + b"}]}"


@given(MESSAGES, st.data())
def test_a_message_survives_being_streamed_and_split_anywhere(
    document: dict[str, Any], data: st.DataObject
) -> None:
    body = replay(document, stream=True).body
    cut = data.draw(st.integers(0, len(body)))
    told = read(asked(stream=True), body[:cut], body[cut:], is_stream=True)
    whole = read(asked(), json.dumps(document).encode(), is_stream=False)
    assert (told.unfit, told.exact_only) == (whole.unfit, whole.exact_only)
    assert json.loads(told.content) == (document if told.may_be_shared else {})


@given(MESSAGES)
def test_events_add_up_to_the_message(document: dict[str, Any]) -> None:
    builder = MessageBuilder()
    for event in events_of(document, "msg_new"):
        builder.add(event)
    assert builder.is_complete
    assert builder.message() == {"id": "msg_new", **document}


@given(MESSAGES)
def test_a_json_replay_is_the_message_under_a_new_id(document: dict[str, Any]) -> None:
    answer = replay(document)
    assert json.loads(answer.body) == {"id": "msg_new", **document}
    assert (b"request-id", b"req_new") in answer.head.headers


def test_no_line_of_a_streamed_replay_ends_where_unicode_alone_says_so() -> None:
    text = "a\u2028b\x85c\u2029d"
    told = replay(message({"type": "text", "text": text}), stream=True).body.decode()
    assert all(line.startswith(("event: ", "data: ")) for line in told.splitlines() if line)


@pytest.mark.parametrize("stored", [b"", b"null", b"[1]", b"{", b"\xff", b"{}", DEEP])
def test_a_stored_message_that_cannot_be_read_raises(stored: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        asked(stream=True).render(stored, CacheStatus(Outcome.HIT), nonce="n", now=1)


START = {"type": "message_start", "message": message(content=[], stop_reason=None)}
TEXT = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
CALL = {**TEXT, "content_block": {"type": "tool_use", "id": "a", "name": "f", "input": {}}}
THOUGHT = {**TEXT, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}
STOP = {"type": "content_block_stop", "index": 0}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
LAST = {"type": "message_stop"}


def delta(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": kind, **fields}}


def build(*events: Any) -> dict[str, Any]:
    builder = MessageBuilder()
    for event in events:
        builder.add(event)
    return builder.message()


def test_usage_is_what_was_told_last() -> None:
    usage = {"output_tokens": 5, "input_tokens": None, "cache_read_input_tokens": 8, "new": 1}
    told = build(START, {"type": "ping"}, TEXT, STOP, END, {**END, "usage": usage}, LAST)
    assert told["usage"] == {
        **START["message"]["usage"],  # type: ignore[index]
        "output_tokens": 5,
        "cache_read_input_tokens": 8,
        "new": 1,
    }
    assert told["stop_reason"] == "end_turn"


def test_an_end_may_tell_of_the_usage_alone() -> None:
    last = {**END, "delta": {}, "usage": {"output_tokens": 7}}
    told = build(START, TEXT, STOP, END, last, LAST)
    assert (told["stop_reason"], told["usage"]["output_tokens"]) == ("end_turn", 7)


def test_what_is_told_beside_the_end_is_kept() -> None:
    edits: dict[str, Any] = {"applied_edits": []}
    told = build(START, TEXT, STOP, {**END, "context_management": edits}, LAST)
    assert told["context_management"] == edits
    told.pop("id")
    body = replay(told, stream=True).body
    assert json.loads(read(asked(), body, is_stream=True).content) == told


def test_an_input_comes_in_pieces_of_json() -> None:
    pieces = [delta("input_json_delta", partial_json=p) for p in ("", '{"a"', ": [1, 2", "]}")]
    assert build(START, CALL, *pieces, STOP, END)["content"][0]["input"] == {"a": [1, 2]}
    assert build(START, CALL, pieces[0], STOP, END)["content"][0]["input"] == {}


def test_a_signature_is_the_one_that_came_last() -> None:
    deltas = [
        delta("thinking_delta", thinking="Hm"),
        delta("signature_delta", signature="a"),
        delta("signature_delta", signature="b"),
    ]
    block = {"type": "thinking", "thinking": "Hm", "signature": "b"}
    assert build(START, THOUGHT, *deltas, STOP, END)["content"] == [block]


@pytest.mark.parametrize(
    "events",
    [
        [1],
        [],
        [TEXT],
        [START, START],
        [START, {"type": "novelty"}],
        [START, {"type": "error", "error": {"type": "overloaded_error", "message": ""}}],
        [{**START, "message": None}],
        [{**START, "message": message()}],
        [{**START, "message": message(content=[], usage=None)}],
        [START, {**TEXT, "index": 1}],
        [START, {**TEXT, "content_block": None}],
        [START, delta("text_delta", text="a")],
        [START, TEXT],
        [START, TEXT, STOP, STOP],
        [START, TEXT, STOP, delta("text_delta", text="a")],
        [START, TEXT, {**STOP, "index": True}],
        [START, TEXT, delta("text_delta")],
        [START, TEXT, delta("thinking_delta", thinking="a")],
        [START, TEXT, delta("signature_delta", signature="a")],
        [START, TEXT, delta("input_json_delta", partial_json="{}")],
        [START, TEXT, delta("citations_delta")],
        [START, TEXT, delta("novel_delta", text="a")],
        [START, TEXT, {**delta(""), "delta": None}],
        [START, CALL, delta("input_json_delta", partial_json="{"), STOP],
        [START, CALL, delta("input_json_delta", partial_json='{"a":1,"a":2}'), STOP],
        [START, {**END, "delta": None}],
        [START, {**END, "usage": []}],
    ],
)
def test_what_cannot_be_joined_without_loss_is_refused(events: list[Any]) -> None:
    with pytest.raises(NotUnderstood):
        build(*events)


def told(*events: dict[str, Any]) -> bytes:
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events
    )


def test_a_stream_is_complete_with_its_last_event() -> None:
    reader = asked(stream=True).reader(is_stream=True)
    reader.feed(told(START, TEXT, delta("text_delta", text="Hi"), STOP, END))
    assert not reader.is_complete
    reader.feed(told(LAST)[:-1])
    assert not reader.is_complete
    reader.feed(b"\n")
    assert reader.is_complete
    assert reader.read().unfit is None


def test_a_stream_that_ends_after_its_reason_is_complete() -> None:
    hello = delta("text_delta", text="Hi")
    assert read(asked(), told(START, TEXT, hello, STOP, END), is_stream=True).unfit is None
    assert read(asked(), told(START, TEXT, hello, STOP), is_stream=True).unfit == "incomplete"


def test_an_event_under_another_name_is_refused() -> None:
    with pytest.raises(NotUnderstood):
        read(asked(), told(START).replace(b"event: message_start", b"event: ping"), is_stream=True)
