"""Answers in OpenAI's Responses API: builders, and strategies of hypothesis."""

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from tests.strategies import ARGUMENTS, TEXT, WORD

CREATED = 1_600_000_000


def part(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": [], **fields}


def message(*parts: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    told = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant"}
    return {**told, "content": [*parts], **fields}


def call(**fields: Any) -> dict[str, Any]:
    told = {"id": "fc_1", "type": "function_call", "status": "completed", "name": "get_weather"}
    return {**told, "arguments": '{"city": "Oslo"}', "call_id": "call_1", **fields}


def reasoning(*texts: str, **fields: Any) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": text} for text in texts]
    return {"id": "rs_1", "type": "reasoning", "summary": summary, **fields}


def response(*output: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a response with the items `output`; if there are none, with one message."""
    return {
        "id": "resp_upstream",
        "object": "response",
        "created_at": CREATED,
        "completed_at": CREATED + 1,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": "gpt-test-2024",
        "output": [*(output or [message(part("Valkey is a key-value store."))])],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 5,
        },
        "user": None,
        **fields,
    }


def sse(*events: Mapping[str, Any]) -> bytes:
    """Return events as OpenAI writes them. Events without a number are numbered from 0."""
    told = [{"sequence_number": number, **event} for number, event in enumerate(events)]
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in told
    )


TOKENS = st.lists(
    st.fixed_dictionaries(
        {
            "token": WORD,
            "logprob": st.floats(-9, 0),
            "bytes": st.just([1]),
            "top_logprobs": st.just([{"token": "a", "logprob": -1.0, "bytes": [97]}]),
        }
    ),
    max_size=3,
)
CITATION = {"type": "url_citation", "start_index": 0, "end_index": 1, "title": "t", "url": "u"}
CUSTOM_CALL = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_2", "name": "run"}
PARTS = st.builds(
    part,
    TEXT.map(lambda text: f"{text}."),
    logprobs=TOKENS,
    annotations=st.lists(st.just(CITATION), max_size=2),
)
ITEMS = st.one_of(
    st.builds(message, PARTS),
    st.builds(message, PARTS, PARTS),
    st.builds(call, arguments=ARGUMENTS),
    TEXT.map(lambda text: {**CUSTOM_CALL, "input": text}),
    st.builds(reasoning, TEXT, TEXT, encrypted_content=st.none() | st.just("gAAA")),
    st.builds(
        reasoning,
        content=TEXT.map(lambda text: [{"type": "reasoning_text", "text": text}]),
        status=st.just("completed"),
    ),
)


def _numbered(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**item, "id": f"{item['id']}{place}", **({"call_id": f"c{place}"} if calls else {})}
        for place, item in enumerate(items)
        for calls in ["call_id" in item]
    ]


OUTPUTS = st.lists(ITEMS, max_size=4).map(lambda items: _numbered([*items, message(part("End."))]))
RESPONSES = st.builds(lambda output: response(*output), OUTPUTS)
"""Responses that may be stored."""
