"""Brings requests into canonical form: no default values, and one spelling for equal values.

https://platform.openai.com/docs/api-reference/chat/create lists the defaults. On other servers,
only the defaults of sampling parameters may differ. An answer that is possible with one default of
a sampling parameter is also possible with another default.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from app.dialects.fields import is_same
from app.dialects.openai import numbers_of
from app.dialects.strict_json import JsonObject

_DEFAULTS: Mapping[str, object] = MappingProxyType(
    {
        "frequency_penalty": 0,
        "functions": [],
        "logit_bias": {},
        "logprobs": False,
        "modalities": ["text"],
        "n": 1,
        "parallel_tool_calls": True,
        "presence_penalty": 0,
        "response_format": {"type": "text"},
        "stop": [],
        "store": False,
        "temperature": 1,
        "tools": [],
        "top_p": 1,
        "verbosity": "medium",
    }
)
_NULLABLE = frozenset(
    {
        *_DEFAULTS,
        *("audio", "function_call", "max_completion_tokens", "max_tokens", "prediction"),
        *("reasoning_effort", "seed", "tool_choice", "top_logprobs", "web_search_options"),
    }
)
"""Fields in which null means that the field is absent."""

_CHOICES = MappingProxyType({"tool_choice": "tools", "function_call": "functions"})
"""Each key is a field that chooses a tool. Its value is the field that lists the tools. The default
of the choosing field is `auto`, or `none` if the list is empty."""

_MESSAGE_NULLABLE = frozenset({"audio", "function_call", "name", "refusal", "tool_calls"})
_NUMBERS = frozenset({"frequency_penalty", "presence_penalty", "temperature", "top_p"})
_HINT = "prompt_cache_breakpoint"  # a part's field: where the upstream's own cache may begin


def same_fields(document: Mapping[str, Any]) -> JsonObject:
    """Return the fields of a request, except its messages, in canonical form."""
    told: JsonObject = {}
    for name, value in document.items():
        if value is None and name in _NULLABLE:
            continue
        written = _written(name, value)
        if name in _CHOICES:
            default: object = "auto" if document.get(_CHOICES[name]) else "none"
        else:
            default = _DEFAULTS.get(name)
        if default is None or not is_same(written, default):
            told[name] = written
    return told


def _written(name: str, value: Any) -> Any:
    if name in _NUMBERS and isinstance(value, float) and value.is_integer():
        return int(value)
    if name == "stop" and isinstance(value, str):
        return [value]
    if name == "tools" and isinstance(value, list):
        return [_lax(tool, "function") for tool in value]
    return _lax(value, "json_schema") if name == "response_format" else value


def _lax(value: Any, name: str) -> Any:
    """Return `value`, but without `value[name]["strict"]` if this field is false or null."""
    inner = value.get(name) if isinstance(value, dict) else None
    if not isinstance(inner, dict) or inner.get("strict", True) not in (None, False):
        return value
    return {**value, name: {n: v for n, v in inner.items() if n != "strict"}}


def same_messages(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """Return messages in canonical form; numbers replace the ids of tool calls."""
    numbers = _numbers_of(messages)
    return [_numbered(_plain(message), numbers) for message in messages]


def _plain(message: JsonObject) -> JsonObject:
    plain = {n: v for n, v in message.items() if v is not None or n not in _MESSAGE_NULLABLE}
    if plain.get("tool_calls") == []:
        del plain["tool_calls"]
    if isinstance(content := plain.get("content"), list):
        parts = [{n: v for n, v in part.items() if n != _HINT} for part in content]
        is_one_text = len(parts) == 1 and parts[0].keys() == {"type", "text"}
        plain["content"] = parts
        if is_one_text and parts[0]["type"] == "text" and isinstance(parts[0]["text"], str):
            plain["content"] = parts[0]["text"]
    return plain


def _numbers_of(messages: Sequence[JsonObject]) -> dict[str, int]:
    """Return a number for each id of a tool call. Ids that a text mentions get no number."""
    ids = (found for message in messages for found in _ids(message))
    return numbers_of(ids, (text for message in messages for text in _texts(message)))


def _ids(message: JsonObject) -> Iterator[str]:
    for call in _calls(message):
        if isinstance(name := call.get("id"), str):
            yield name
    if isinstance(name := message.get("tool_call_id"), str):
        yield name


def _calls(message: JsonObject) -> list[JsonObject]:
    calls = message.get("tool_calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _texts(message: JsonObject) -> Iterator[str]:
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    told = [part.get("text") for part in parts]
    for call in _calls(message):
        for value in call.values():
            told += value.values() if isinstance(value, dict) else ()
    return (text for text in told if isinstance(text, str))


def _numbered(message: JsonObject, numbers: Mapping[str, int]) -> JsonObject:
    calls = message.get("tool_calls")
    if not numbers or not (isinstance(calls, list) or "tool_call_id" in message):
        return message
    told = _linked(message, "tool_call_id", numbers)
    if isinstance(calls, list):
        linked = [_linked(c, "id", numbers) if isinstance(c, dict) else c for c in calls]
        told["tool_calls"] = linked
    return told


def _linked(value: JsonObject, name: str, numbers: Mapping[str, int]) -> JsonObject:
    """Return a copy of `value` in which a number replaces the id in the field `name`.

    If `numbers` has no number for an id, the id is kept.
    """
    found = value.get(name)
    return {**value, name: numbers.get(found, found)} if isinstance(found, str) else {**value}
