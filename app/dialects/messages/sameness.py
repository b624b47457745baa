"""Brings requests into canonical form: one spelling for equal values, and no `cache_control`.

https://platform.claude.com/docs/en/api/messages
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from app.dialects.fields import without_defaults
from app.dialects.openai import numbers_of
from app.dialects.strict_json import JsonObject

NEUTRAL_FIELDS = frozenset({"cache_control", "metadata", "service_tier", "stream"})
"""Body fields that do not change the answer."""

_DEFAULTS: Mapping[str, object] = MappingProxyType(
    {"mcp_servers": [], "stop_sequences": [], "temperature": 1, "tools": []}
)
_NULLABLE = frozenset(
    {
        *_DEFAULTS,
        *("container", "context_management", "diagnostics", "output_format", "speed"),
        *("system", "thinking", "thread", "tool_choice", "top_k", "top_p"),
    }
)
"""Fields in which null means that the field is absent."""

_MARKER = "cache_control"  # marks where the upstream's own cache may end
# Fields that contain the client's own JSON, in which `cache_control` has no special meaning.
_OWN = frozenset({"input", "input_examples", "input_schema", "schema"})
_LINKS = MappingProxyType({"tool_use": "id", "tool_result": "tool_use_id"})


def same_fields(document: Mapping[str, Any]) -> JsonObject:
    """Return the fields of a request, except its messages, in canonical form."""
    told = {n: v for n, v in document.items() if n not in NEUTRAL_FIELDS and n != "messages"}
    told = without_defaults(_unmarked(told), _DEFAULTS, _NULLABLE)
    if "system" in told:
        told["system"] = _plain(told["system"])
    if told.get("tool_choice") == {"type": "auto"}:
        del told["tool_choice"]  # the default with tools; without tools it has no effect
    return told


def same_messages(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """Return messages in canonical form; numbers replace the ids of tool calls."""
    numbers = _numbers_of(messages)
    plain = [_unmarked(message) for message in messages]
    return [
        {**message, "content": _plain(_numbered(message["content"], numbers))} for message in plain
    ]


def _unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: item if name in _OWN else _unmarked(item)
            for name, item in value.items()
            if name != _MARKER
        }
    return [_unmarked(item) for item in value] if isinstance(value, list) else value


def _plain(content: Any) -> Any:
    """Return the text if `content` is one plain text block, else `content` unchanged."""
    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], dict):
        return content
    block = {n: v for n, v in content[0].items() if n != "citations" or v is not None}
    is_text = block.keys() == {"type", "text"} and block["type"] == "text"
    return block["text"] if is_text and isinstance(block["text"], str) else content


def _numbers_of(messages: Sequence[JsonObject]) -> dict[str, int]:
    """Return a number for each id of a tool call. Ids that a text mentions get no number."""
    ids = (block[_LINKS[block["type"]]] for message in messages for block in _linked(message))
    return numbers_of(ids, (text for message in messages for text in _spoken(message["content"])))


def _linked(message: JsonObject) -> Iterator[JsonObject]:
    content = message["content"]
    for block in content if isinstance(content, list) else ():
        if block["type"] in _LINKS and isinstance(block.get(_LINKS[block["type"]]), str):
            yield block


def _spoken(content: Any) -> Iterator[str]:
    """Yield all strings in a message's content, except ids that link a tool call to its result."""
    if isinstance(content, str):
        yield content
        return
    for block in content:
        link = _LINKS.get(block["type"])
        yield from _texts([item for name, item in block.items() if name != link])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _numbered(content: Any, numbers: Mapping[str, int]) -> Any:
    if not numbers or not isinstance(content, list):
        return content
    return [_with_number(block, numbers) for block in content]


def _with_number(block: JsonObject, numbers: Mapping[str, int]) -> JsonObject:
    name = _LINKS.get(block["type"], "")
    found = block.get(name)
    if not isinstance(found, str) or found not in numbers:
        return block
    return {**block, name: numbers[found]}
