"""If any part of a document is replaced, a dialect reads the document or raises NotUnderstood."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from app.core.cache_status import CacheStatus, Outcome
from app.core.errors import NotUnderstood
from app.core.models import ClientRequest
from app.dialects.chat_completions.chunks import chunks_of
from app.dialects.chat_completions.request import ChatCompletions
from app.dialects.completions.request import Completions
from app.dialects.dialect import Dialect, ParsedRequest
from app.dialects.messages.events import events_of
from app.dialects.messages.request import Messages
from app.dialects.responses.replay import stream_of
from app.dialects.responses.request import Responses
from app.dialects.sse import EventParser
from app.rules.key import KeyRules, build_key
from app.rules.key_parts import key_parts
from tests.dialects.messages import message

RULES = KeyRules("https://upstream.example/v1")
ASKED = ClientRequest("POST", b"/route", b"", [])
OTHERS: tuple[Any, ...] = (
    None,
    True,
    7,
    0.5,
    "",
    "other",
    [],
    [1],
    ["a"],
    [{}],
    {},
    {"a": 1},
    [[]],
)

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
REQUEST = {
    "model": "m",
    "max_tokens": 9,
    "stream": False,
    "temperature": 0.5,
    "stop_sequences": ["a"],
    "metadata": {"user_id": "u"},
    "system": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "tool_choice": {"type": "tool", "name": "f"},
    "tools": [{"type": "custom", "name": "f", "input_schema": SCHEMA}],
    "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    "mcp_servers": [],
    "messages": [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"a": "b"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": []}]},
        {"role": "user", "content": [{"type": "text", "text": "And?", "citations": None}]},
    ],
}
PROMPT = {
    "model": "m",
    "prompt": "Hi",
    "n": 1,
    "best_of": 1,
    "echo": False,
    "suffix": None,
    "logprobs": 2,
    "stop": ["a"],
    "logit_bias": {},
    "temperature": 0.5,
    "stream_options": {"include_usage": True},
    "user": "u",
}
MESSAGE = message(
    {"type": "thinking", "thinking": "Hm", "signature": "s"},
    {"type": "redacted_thinking", "data": "x"},
    {"type": "text", "text": "Hi", "citations": [{"type": "char_location"}]},
    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": "b"}},
    stop_details=None,
    context_management={"applied_edits": []},
)
LOGPROBS = {"tokens": ["H", "i"], "token_logprobs": [-1, -2], "top_logprobs": [{"H": -1}, None]}
CHOICE = {"index": 0, "text": "Hi", "logprobs": LOGPROBS, "finish_reason": "stop", "note": "n"}
COMPLETION = {"id": "cmpl-1", "model": "m", "choices": [CHOICE], "usage": {"total_tokens": 1}}
CHUNKS = [
    {**COMPLETION, "choices": [{**CHOICE, "text": "H", "finish_reason": None}]},
    COMPLETION,
    {**COMPLETION, "choices": []},
]


FUNCTION = {"name": "f", "parameters": SCHEMA, "strict": False}
CALLED = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "b"}'}}
CHAT = {
    "model": "m",
    "n": 1,
    "temperature": 0.5,
    "stop": ["a"],
    "user": "u",
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
    "modalities": ["text"],
    "stream_options": {"include_usage": True},
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "assistant", "content": None, "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "c1", "content": "12"},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ],
}
TOKEN = {"token": "Hi", "logprob": -1, "bytes": [72, 105]}
REPLY = {
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi", "tool_calls": [CALLED]},
            "logprobs": {"content": [TOKEN], "refusal": None},
            "finish_reason": "stop",
        }
    ],
    "usage": {"total_tokens": 1},
}
ASKING = {
    "model": "m",
    "store": False,
    "instructions": "Be short.",
    "tools": [{"type": "function", **FUNCTION}],
    "tool_choice": {"type": "function", "name": "f"},
    "text": {"format": {"type": "json_schema", "schema": SCHEMA}},
    "reasoning": {"effort": "low"},
    "input": [
        {"role": "user", "id": "m1", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "function_call", "id": "f1", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "12"},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
    ],
}
SAID = {"type": "output_text", "text": "{}", "annotations": [{"type": "url_citation"}]}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "m",
    "output": [
        {"type": "reasoning", "id": "r1", "summary": [{"type": "summary_text", "text": "Hm"}]},
        {"type": "message", "id": "m1", "role": "assistant", "content": [SAID]},
        {"type": "function_call", "id": "f1", "call_id": "c1", "name": "f", "arguments": "[1]"},
    ],
    "usage": {"total_tokens": 1},
}


def spoiled(document: Any) -> Iterator[Any]:
    """Yield variants of a document: each part is left out once, and replaced by each of OTHERS."""
    yield from OTHERS
    places = document.items() if isinstance(document, dict) else ()
    for name, value in places:
        rest = {n: v for n, v in document.items() if n != name}
        yield rest
        yield from ({**document, name: part} for part in spoiled(value))
    for place, value in enumerate(document) if isinstance(document, list) else ():
        before, after = document[:place], document[place + 1 :]
        yield [*before, *after]
        yield [*before, value, value, *after]
        yield from ([*before, part, *after] for part in spoiled(value))


@pytest.mark.parametrize(
    ("dialect", "document"),
    [
        (ChatCompletions(), CHAT),
        (Completions(), PROMPT),
        (Messages(), REQUEST),
        (Responses(), ASKING),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_any_request_has_a_key_or_is_not_understood(dialect: Dialect, document: Any) -> None:
    understood = 0
    for asked in spoiled(document):
        try:
            request: Any = dialect.parse(json.dumps(asked).encode())
        except NotUnderstood:
            continue
        understood += 1
        build_key(ASKED, request, RULES)
        key_parts(ASKED, request, RULES)
        assert isinstance(request.question, str)
        assert isinstance(request.treatment, str)
        request.bypass_reason(1.0)
        request.reader(is_stream=False)
    assert understood


def read(requests: Sequence[ParsedRequest], body: bytes, *, is_stream: bool) -> bool:
    """Read an answer, and render it for other requests. Return whether it may be shared."""
    reader = requests[0].reader(is_stream=is_stream)
    try:
        reader.feed(body)
        reader.end()
        answer = reader.read()
    except NotUnderstood:
        return False
    for request in requests if answer.may_be_shared else ():
        with suppress(ValueError):  # it cannot be read, and is none to others
            request.render(answer.content, CacheStatus(Outcome.HIT), nonce="n", now=1)
    return answer.may_be_shared


def told_by(pieces: list[bytes]) -> list[Any]:
    return [json.loads(event.data) for event in EventParser().feed(b"".join(pieces))]


def stream(events: Any) -> bytes:
    listed = events if isinstance(events, list) else [events]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in listed).encode()


@pytest.mark.parametrize(
    ("dialect", "asked", "whole", "events"),
    [
        (ChatCompletions(), CHAT, REPLY, [*chunks_of(REPLY, include_usage=True)]),
        (Completions(), PROMPT, COMPLETION, CHUNKS),
        (Messages(), REQUEST, MESSAGE, [*events_of(MESSAGE, "msg")]),
        (Responses(), ASKING, RESPONSE, [*told_by(stream_of(RESPONSE))]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_any_answer_is_judged_or_not_understood(
    dialect: Dialect, asked: Any, whole: Any, events: Any
) -> None:
    bodies = [json.dumps({**asked, "stream": streams}).encode() for streams in (False, True)]
    requests: list[Any] = [dialect.parse(body) for body in bodies]
    assert read(requests, json.dumps(whole).encode(), is_stream=False)
    assert read(requests, stream(events), is_stream=True)
    for answer in spoiled(whole):
        read(requests, json.dumps(answer).encode(), is_stream=False)
        if isinstance(answer, dict):
            dialect.why_not_stored(answer)
    for told in spoiled(events):
        read(requests, stream(told), is_stream=True)
