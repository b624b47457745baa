"""Anthropic's Messages as the upstream of the lab answers them, streamed as it is documented."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.clients.asked import example_of, text_of

Event = dict[str, Any]


_EMPTY: dict[str, Event] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
}
_THOUGHT = {"type": "thinking", "thinking": "Debian packages it.", "signature": "c2lnbmVk"}


def message_of(asked: dict[str, Any], count: int) -> dict[str, Any]:
    """Answer with a call of the first tool in the request. Without tools, answer with a text."""
    block, reason = _block(asked, count)
    thinks = (asked.get("thinking") or {}).get("type") == "enabled"
    return {
        "id": f"msg_lab_{count}",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [_THOUGHT, block] if thinks else [block],
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 5, "cache_read_input_tokens": 2},
    }


def _block(asked: dict[str, Any], count: int) -> tuple[dict[str, Any], str]:
    last = asked["messages"][-1]["content"]
    results = [] if isinstance(last, str) else [b for b in last if b["type"] == "tool_result"]
    if (tools := asked.get("tools")) and not results:
        call = {"type": "tool_use", "id": f"toolu_{count}", "name": tools[0]["name"]}
        return {**call, "input": example_of(tools[0]["input_schema"])}, "tool_use"
    form = (asked.get("output_config") or {}).get("format") or asked.get("output_format")
    if form:
        return {"type": "text", "text": json.dumps(example_of(form["schema"]))}, "end_turn"
    told = " ".join(text_of(result) for result in results)
    text = f"Reply {count}: {told or 'apt-get install valkey does it.'}"
    return {"type": "text", "text": text}, "end_turn"


def events_of(message: dict[str, Any]) -> Iterator[Event]:
    """Stream a message, block by block."""
    usage = {**message["usage"], "output_tokens": 1}
    start = {**message, "content": [], "stop_reason": None, "usage": usage}
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(message["content"]):
        opened = {**block, **_EMPTY[block["type"]]}
        yield {"type": "content_block_start", "index": index, "content_block": opened}
        yield {"type": "ping"}
        for delta in _deltas(block):
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}}
    yield {"type": "message_stop"}


def _deltas(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if block["type"] == "text":
        for word in re.findall(r"\S+\s*", block["text"]):
            yield {"type": "text_delta", "text": word}
        return
    if block["type"] == "thinking":
        yield {"type": "thinking_delta", "thinking": block["thinking"]}
        yield {"type": "signature_delta", "signature": block["signature"]}
        return
    told = json.dumps(block["input"])
    for piece in ("", told[:5], told[5:]):
        yield {"type": "input_json_delta", "partial_json": piece}


def error_of(message: str) -> dict[str, Any]:
    """Return an error in Anthropic's shape."""
    error = {"type": "invalid_request_error", "message": message}
    return {"type": "error", "error": error, "request_id": "req_lab"}
