import json
from typing import Any

import pytest
from hypothesis import given

from app.core.cache_status import CacheStatus, Replay
from app.core.models import CacheKey, StoredResponse
from app.dialects import chunked
from app.dialects.chat_completions.chunks import CompletionBuilder
from app.dialects.chat_completions.request import ChatRequest
from app.dialects.chunked import without_envelope
from app.dialects.sse import Event, EventParser
from tests.fakes import completion
from tests.strategies import COMPLETIONS

DEEP = b'{"choices":[{"message":' + b"[" * 5000 + b"]" * 5000 + b"}]"


def replay(completion_: bytes, **fields: Any) -> Replay:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **fields}
    stored = StoredResponse(CacheKey("p", "d", "t"), "m", completion_, 1000.0, 60.0)
    parsed = ChatRequest.parse(json.dumps(body).encode())
    status = CacheStatus.hit(stored, 1010.0, None)
    return parsed.render(completion_, status, nonce="new", now=1010.7)


def dumped(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


@given(COMPLETIONS)
def test_a_json_replay_is_the_answer_under_a_new_name(document: dict[str, Any]) -> None:
    answer = replay(dumped(document))
    envelope = {"id": "chatcmpl-new", "object": "chat.completion", "created": 1010}
    assert json.loads(answer.body) == {**envelope, **document}
    assert answer.head.headers == [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(answer.body)),
    ]


@given(COMPLETIONS)
def test_a_streamed_replay_adds_up_to_the_answer(document: dict[str, Any]) -> None:
    answer = replay(dumped(document), stream=True, stream_options={"include_usage": True})
    *chunks, done = [event.data for event in EventParser().feed(answer.body)]
    builder = CompletionBuilder()
    for chunk in map(json.loads, chunks):
        envelope = (chunk["id"], chunk["object"], chunk["created"])
        assert envelope == ("chatcmpl-new", "chat.completion.chunk", 1010)
        builder.add(chunk)
    assert done == "[DONE]"
    assert builder.completion() == document


def test_no_line_of_a_streamed_replay_ends_where_unicode_alone_says_so() -> None:
    text = "a\u2028b\x85c\u2029d\x0be\x0cf\x1cg"
    answer = replay(dumped(without_envelope(completion(text))), stream=True)
    lines = [line for line in answer.body.decode().splitlines() if line]
    assert all(line.startswith("data: ") for line in lines)
    told = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in told) == text


def test_usage_is_streamed_only_when_asked_for() -> None:
    stored = dumped(without_envelope(completion()))
    assert b"usage" not in replay(stored, stream=True).body


@pytest.mark.parametrize(
    ("data", "left"),
    [
        ('{"choices":[{"index":0}],"usage":null}', b'data: {"choices":[{"index":0}]}\n\n'),
        ('{"choices":[{"index":0}],"usage":{"a":1}}', b'data: {"choices":[{"index":0}]}\n\n'),
        ('{"choices":[],"usage":{"a":1}}', b""),
        ('{"choices":[],"usage":null,"x":"\u2028"}', b'data: {"choices":[],"x":"\\u2028"}\n\n'),
        ('{"choices": [],\n"x": 1}', b'data: {"choices": [],\ndata: "x": 1}\n\n'),
        ("[DONE]", b"data: [DONE]\n\n"),
        ('"usage"', b'data: "usage"\n\n'),
    ],
)
def test_usage_is_left_out_of_a_stream_and_nothing_else(data: str, left: bytes) -> None:
    assert chunked.without_usage(Event(data)) == left


@pytest.mark.parametrize("stored", [b"", b"null", b"[1]", b"{", b"\xff", DEEP])
@pytest.mark.parametrize("stream", [False, True])
def test_a_stored_completion_that_cannot_be_read_raises(stored: bytes, stream: bool) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        replay(stored, stream=stream)
