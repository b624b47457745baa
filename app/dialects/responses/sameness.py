"""Brings requests into canonical form: no default values, and one spelling for equal values.

https://platform.openai.com/docs/api-reference/responses/create lists the defaults.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from app.dialects.fields import is_same
from app.dialects.openai import numbers_of
from app.dialects.strict_json import JsonObject

_DEFAULTS: Mapping[str, object] = MappingProxyType(
    {
        "background": False,
        "include": [],
        "parallel_tool_calls": True,
        "reasoning": {},
        "store": True,
        "temperature": 1,
        "text": {},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1,
        "truncation": "disabled",
    }
)
_NULLABLE = frozenset(
    {
        *_DEFAULTS,
        *("conversation", "instructions", "max_output_tokens", "max_tool_calls"),
        *("previous_response_id", "prompt"),
    }
)
"""Fields in which null means that the field is absent."""

_TEXT: Mapping[str, object] = MappingProxyType({"format": {"type": "text"}, "verbosity": "medium"})
_NUMBERS = frozenset({"temperature", "top_p"})
_HINT = "prompt_cache_breakpoint"  # a part's field: where the upstream's own cache may begin

# Types of items that contain all their data; their `id` only refers to the upstream's copy.
_WHOLE = frozenset(
    {
        *("message", "function_call", "function_call_output"),
        *("custom_tool_call", "custom_tool_call_output"),
    }
)


def same_fields(document: Mapping[str, Any]) -> JsonObject:
    """Return the fields of a request, except its input, in canonical form."""
    told: JsonObject = {}
    for name, value in document.items():
        if value is None and name in _NULLABLE:
            continue
        written = _written(name, value)
        if name not in _DEFAULTS or not is_same(written, _DEFAULTS[name]):
            told[name] = written
    return told


def _written(name: str, value: Any) -> Any:
    if name in _NUMBERS and isinstance(value, float) and value.is_integer():
        return int(value)
    if name == "include" and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return sorted(set(value))
    if name in {"reasoning", "text"} and isinstance(value, dict):
        defaults = _TEXT if name == "text" else {}
        return {n: v for n, v in value.items() if v is not None and v != defaults.get(n)}
    return value


def same_items(items: Sequence[JsonObject]) -> list[JsonObject]:
    """Return the items of an input in canonical form; numbers replace the ids of calls."""
    plain = [_plain(item) for item in items]
    ids = (item["call_id"] for item in plain if isinstance(item.get("call_id"), str))
    numbers = numbers_of(ids, (text for item in plain for text in _texts(item)))
    if numbers:
        for item in plain:
            if isinstance(name := item.get("call_id"), str):
                item["call_id"] = numbers.get(name, name)
    return plain


def _plain(item: JsonObject) -> JsonObject:
    kind = item.get("type", "message")
    plain = {n: v for n, v in item.items() if v is not None or n == "content"}
    is_whole = kind in _WHOLE or (kind == "reasoning" and bool(plain.get("encrypted_content")))
    if is_whole:
        plain.pop("id", None)
    if plain.get("status") == "completed":
        del plain["status"]
    if kind == "message":
        plain.pop("type", None)
        plain["content"] = _content(plain.get("content"))
    return plain


def _content(content: object) -> object:
    if not isinstance(content, list):
        return content
    parts = [{n: v for n, v in part.items() if _tells(n, v)} for part in content]
    if (
        len(parts) == 1
        and parts[0].keys() == {"type", "text"}
        and isinstance(parts[0]["text"], str)
    ):
        return parts[0]["text"] if parts[0]["type"] in {"input_text", "output_text"} else parts
    return parts


def _tells(name: str, value: object) -> bool:
    is_nothing = value is None or (value == [] and name in {"annotations", "logprobs"})
    return not is_nothing and name != _HINT


def _texts(value: object) -> Iterator[str]:
    """Yield all strings in an item, except the ids of calls."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name != "call_id":
                yield from _texts(item)
