"""Finds the texts in a stored answer of any dialect, and the arguments of its tool calls."""

import json
from collections.abc import Iterator
from typing import Any

_SAID = frozenset({"content", "text", "arguments"})
_INPUT = "input"  # the arguments of a tool call in Anthropic's Messages
_THOUGHTS = frozenset({"reasoning", "thinking", "redacted_thinking"})


def said_in(content: bytes) -> str:
    """Return the texts of a stored answer and the arguments of its tool calls.

    Blank lines separate these texts and arguments. The model's thoughts are left out. Raises
    ValueError if `content` is not JSON.
    """
    return "\n\n".join(_texts(json.loads(content)))


def _texts(document: Any) -> Iterator[str]:
    rest = [document]
    while rest:
        value = rest.pop()
        if isinstance(value, list):
            rest += reversed(value)
        elif isinstance(value, dict) and value.get("type") not in _THOUGHTS:
            yield from (text for name, text in value.items() if name in _SAID and _is_text(text))
            if isinstance(given := value.get(_INPUT), dict):
                yield json.dumps(given)
            rest += reversed([v for v in value.values() if isinstance(v, dict | list)])


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
