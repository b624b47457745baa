"""Every event of a replay matches the official SDKs' types. Together they give the same answer."""

import json
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from openai.types import Completion
from pydantic import TypeAdapter

from app.dialects.sse import EventParser
from tests.dialects import completions, messages
from tests.dialects.completions import COMPLETIONS, STREAMED
from tests.dialects.messages import MESSAGES

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


@given(MESSAGES)
def test_every_event_is_what_the_sdk_knows_under_its_name(document: dict[str, Any]) -> None:
    events = EventParser().feed(messages.replay(document, stream=True).body)
    for event in events:
        EVENT.validate_python(told := json.loads(event.data))
        assert told["type"] == event.type
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == len(document["content"])


@given(MESSAGES)
def test_the_sdk_accumulates_a_replay_to_the_message(document: dict[str, Any]) -> None:
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in EventParser().feed(messages.replay(document, stream=True).body):
        told = EVENT.validate_python(json.loads(event.data))
        snapshot = accumulate_event(event=told, current_snapshot=snapshot, json_bufs=buffers)
    whole = Message.model_validate(json.loads(messages.replay(document).body))
    # Its own types do not differ in what is absent, and it parses inputs in its own way.
    assert snapshot.model_dump(exclude_none=True) == whole.model_dump(exclude_none=True)


@given(COMPLETIONS)
def test_every_chunk_is_what_the_sdk_knows(document: dict[str, Any]) -> None:
    *events, done, _ = completions.replay(document, **STREAMED).body.decode().split("\n\n")
    assert done == "data: [DONE]"
    for event in events:
        told = json.loads(event.removeprefix("data: "))
        for choice in told["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"  # its types know no null
        chunk = Completion.model_validate(told)
        assert (chunk.id, chunk.created) == ("cmpl-new", 10)
