"""Strategies of hypothesis for Anthropic's messages, and for requests for them."""

import json
from typing import Any

from hypothesis import strategies as st

from app.core.cache_status import CacheStatus, Outcome, Replay
from app.dialects.dialect import Answer
from app.dialects.messages.request import MessagesRequest
from tests.strategies import JSON, TEXT, WORD, extras

CITATIONS = st.none() | st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("char_location"),
            "cited_text": WORD,
            "document_index": st.integers(0, 9),
            "document_title": st.none() | WORD,
            "start_char_index": st.integers(0, 9),
            "end_char_index": st.integers(0, 9),
        }
    ),
    max_size=2,
)
TEXTS = st.fixed_dictionaries({"type": st.just("text"), "text": TEXT, "citations": CITATIONS})
THOUGHTS = st.fixed_dictionaries(
    {"type": st.just("thinking"), "thinking": TEXT, "signature": st.just("") | WORD}
)
REDACTED = st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": WORD})
CALLS = st.fixed_dictionaries(
    {
        "type": st.just("tool_use"),
        "id": WORD,
        "name": WORD,
        "input": st.dictionaries(WORD, JSON, max_size=3),
    }
)
USAGE = st.builds(
    lambda fixed, more, details: {**more, **fixed, **details},
    st.fixed_dictionaries(
        {
            "input_tokens": st.integers(0, 99),
            "output_tokens": st.integers(0, 99),
            "cache_creation_input_tokens": st.none() | st.integers(0, 99),
            "cache_read_input_tokens": st.none() | st.integers(0, 99),
            "cache_creation": st.none()
            | st.just({"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 3}),
            "service_tier": st.none() | st.just("standard"),
            "server_tool_use": st.none(),
        }
    ),
    extras("output_tokens_details"),
    st.sampled_from([{}, {"output_tokens_details": {"thinking_tokens": 2}}]),
)
MESSAGES = st.builds(
    lambda fixed, content, more: {**more, **fixed, "content": content},
    st.fixed_dictionaries(
        {
            "type": st.just("message"),
            "role": st.just("assistant"),
            "model": WORD,
            "stop_reason": st.sampled_from(["end_turn", "stop_sequence", "tool_use", "max_tokens"]),
            "stop_sequence": st.none() | WORD,
            "usage": USAGE,
        }
    ),
    st.lists(TEXTS | THOUGHTS | REDACTED | CALLS, max_size=4),
    extras("content", "error", "usage", "container", "stop_details", "model", "stop_reason"),
)
"""Messages without their id, as they are stored."""


def message(*content: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Make a message as Anthropic would."""
    blocks = content or ({"type": "text", "text": "Valkey is a key-value store."},)
    calls = any(block["type"] == "tool_use" for block in blocks)
    return {
        "id": "msg_upstream",
        "type": "message",
        "role": "assistant",
        "model": "claude-test",
        "content": list(blocks),
        "stop_reason": "tool_use" if calls else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 7,
            "output_tokens": 9,
            "service_tier": "standard",
        },
        **fields,
    }


def body_of(question: Any = "Hi", **fields: Any) -> bytes:
    messages = [{"role": "user", "content": question}]
    return json.dumps({"model": "m", "max_tokens": 9, "messages": messages, **fields}).encode()


def asked(question: Any = "Hi", **fields: Any) -> MessagesRequest:
    return MessagesRequest.parse(body_of(question, **fields))


def read(request: MessagesRequest, *pieces: bytes, is_stream: bool) -> Answer:
    reader = request.reader(is_stream=is_stream)
    for piece in pieces:
        reader.feed(piece)
    reader.end()
    return reader.read()


def replay(document: dict[str, Any], **fields: Any) -> Replay:
    content = json.dumps(document).encode()
    return asked(**fields).render(content, CacheStatus(Outcome.HIT), nonce="new", now=10.7)
