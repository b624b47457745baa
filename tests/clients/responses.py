"""OpenAI's Responses as the upstream of the lab answers them, streamed as it is documented.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.clients.asked import example_of, text_of

Item = dict[str, Any]
Event = dict[str, Any]
_CREATED = 1_600_000_000
_USAGE = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 12,
}
_DEFAULTS: dict[str, Any] = {
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}


class Conversations:
    """The responses that the upstream has stored. Requests can continue them, and name their items.

    The id of a response that was not to be stored raises KeyError.
    """

    def __init__(self) -> None:
        self._told: dict[str, list[Item]] = {}
        self._items: dict[str, Item] = {}

    def response_of(self, asked: dict[str, Any], count: int) -> dict[str, Any]:
        """Answer with a call of a tool that was not called yet; with text if there is none."""
        told = self.items_of(asked)
        item = _item(asked, told, count)
        answered = {name: asked.get(name) or value for name, value in _DEFAULTS.items()}
        answered["store"] = asked.get("store") is not False
        response_id = f"resp_lab_{count}"
        if answered["store"]:
            self._told[response_id] = [*told, item]
            self._items[item["id"]] = item
        return {
            "id": response_id,
            "object": "response",
            "created_at": _CREATED,
            "completed_at": _CREATED + 1,
            "status": "completed",
            "error": None,
            "incomplete_details": None,
            "model": asked["model"],
            "output": [item],
            **answered,
            "usage": _USAGE,
        }

    def items_of(self, asked: dict[str, Any]) -> list[Item]:
        """Return all items of a conversation: of the continued response, and of the request."""
        before = asked.get("previous_response_id")
        own = asked["input"]
        items = [{"role": "user", "content": own}] if isinstance(own, str) else own
        return [*(self._told[before] if before else []), *map(self._whole, items)]

    def _whole(self, item: Item) -> Item:
        return self._items[item["id"]] if item.get("type") == "item_reference" else item


def last_text_of(items: list[Item]) -> str:
    """Return the text of the last item: of a message, or of a tool's result."""
    return text_of({"content": items[-1].get("content") or items[-1].get("output")})


def _item(asked: dict[str, Any], told: list[Item], count: int) -> Item:
    called = {item["name"] for item in told if item.get("type") == "function_call"}
    tools = {tool["name"]: tool for tool in asked.get("tools") or []}
    if isinstance(choice := asked.get("tool_choice"), dict):
        tools = {choice["name"]: tools[choice["name"]]}
    if choice != "none" and (left := [name for name in tools if name not in called]):
        arguments = example_of(tools[left[0]].get("parameters") or {"type": "object"})
        return {
            "id": f"fc_lab_{count}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_lab_{count}",
            "name": left[0],
            "arguments": json.dumps(arguments),
        }
    text = {"type": "output_text", "text": _text(asked, told, count), "annotations": []}
    return {
        "id": f"msg_lab_{count}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{**text, "logprobs": []}],
    }


def _text(asked: dict[str, Any], told: list[Item], count: int) -> str:
    form = (asked.get("text") or {}).get("format") or {}
    if form.get("type") == "json_schema":
        return json.dumps(example_of(form["schema"]))
    is_result = told[-1].get("type") == "function_call_output"
    heard = last_text_of(told) if is_result else "apt-get install valkey does it."
    return f"Reply {count}: {heard}"


def events_of(response: dict[str, Any]) -> Iterator[Event]:
    """Stream a response of one item."""
    for number, event in enumerate(_events(response)):
        yield {**event, "sequence_number": number}


def _events(response: dict[str, Any]) -> Iterator[Event]:
    (item,) = response["output"]
    unset = {"completed_at": None, "usage": None}
    begun = {**response, **unset, "status": "in_progress", "output": []}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    is_call = item["type"] == "function_call"
    empty: Item = {"arguments": ""} if is_call else {"content": []}
    opened = {**item, **empty, "status": "in_progress"}
    yield {"type": "response.output_item.added", "output_index": 0, "item": opened}
    for event in _call_events(item) if is_call else _text_events(item["content"][0]):
        yield {**event, "item_id": item["id"], "output_index": 0}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": response}


def _call_events(call: Item) -> Iterator[Event]:
    kind, arguments = "response.function_call_arguments", call["arguments"]
    for piece in (arguments[:5], arguments[5:]):
        yield {"type": f"{kind}.delta", "delta": piece}
    yield {"type": f"{kind}.done", "arguments": arguments}


def _text_events(part: dict[str, Any]) -> Iterator[Event]:
    place = {"content_index": 0}
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    kind = "response.output_text"
    for word in re.findall(r"\S+\s*", part["text"]):
        yield {"type": f"{kind}.delta", **place, "delta": word, "logprobs": []}
    yield {"type": f"{kind}.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}
