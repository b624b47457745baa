"""Reads the token counts of an answer of any dialect.

https://platform.openai.com/docs/api-reference/chat/object
https://platform.openai.com/docs/api-reference/responses/object
https://platform.claude.com/docs/en/api/messages
"""

import json
from typing import Any

from app.core.models import Usage

_FIELD = b'"usage":'
_MOST = 16_384  # the most bytes of the field that are read
_LOOKS = 4
_TOO_MANY = 1_000_000_000_000
_DECODER = json.JSONDecoder()


def usage_in(content: bytes) -> Usage | None:
    """Return the token counts of a stored answer of any dialect, or None if the answer has none.

    Only the field `usage` is parsed, because parsing a long answer would take more time. The
    function searches for the field's name in quotes. This search never finds the name inside a
    text, because JSON escapes the quotes in texts.
    """
    at = len(content)
    for _ in range(_LOOKS):  # usage comes last, unless a client's field has the same name
        if (at := content.rfind(_FIELD, 0, at)) < 0:
            return None
        begin = at + len(_FIELD)
        try:
            told, _ = _DECODER.raw_decode(content[begin : begin + _MOST].decode(errors="replace"))
        except (ValueError, RecursionError):
            continue
        if (usage := usage_of(told)) is not None:
            return usage
    return None


def usage_of(told: Any) -> Usage | None:
    """Return the token counts in `told`, the field `usage` of an answer.

    The result is None if `told` has no token counts.
    """
    if not isinstance(told, dict):
        return None
    given = told.get("prompt_tokens", told.get("input_tokens"))
    taken = told.get("completion_tokens", told.get("output_tokens"))
    if given is None and taken is None:
        return None
    details = told.get("prompt_tokens_details", told.get("input_tokens_details"))
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else 0
    # In Anthropic's API, `input_tokens` does not include tokens read from or written to the prompt
    # cache. If a gateway sends Anthropic's names beside `prompt_tokens`, then `prompt_tokens`
    # includes these tokens, as in OpenAI's API.
    read, written = (
        _count(told.get(name))
        for name in ("cache_read_input_tokens", "cache_creation_input_tokens")
    )
    whole = _count(given) + (0 if "prompt_tokens" in told else read + written)
    return Usage(whole, _count(taken), min(whole, max(cached, read)), min(whole, written))


def _count(value: object) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and 0 <= value < _TOO_MANY else 0  # type: ignore[operator,return-value]
