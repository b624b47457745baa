"""Decides whether a chat completion may be stored, shared, and served by meaning.

docs/http-api.md explains each reason for not storing. In case of doubt, an answer is not stored.
"""

from collections.abc import Mapping
from typing import Any

from app.core.cache_status import DiscardReason
from app.dialects.chat_completions.structured import (
    calls_others,
    has_broken_calls,
    has_broken_text,
)
from app.dialects.strict_json import JsonObject
from app.dialects.structure import Structure

_FINISHED = frozenset({"stop", "tool_calls", "function_call"})
_WHOLE = frozenset({None, "finish-reason", "refusal", "audio", "empty"})
_FREE = Structure()


def why_not_stored(
    completion: Mapping[str, Any], choices: int, structure: Structure = _FREE
) -> DiscardReason | None:
    """Return why a completion must not be stored, or None if it may be stored.

    `choices` is the number of choices that the request asked for. A completion with another number
    of choices is incomplete. `structure` is the structure that the request demands of the
    answer, for example that its text is JSON. A stored completion without this structure would
    make the client fail on each hit.
    """
    told = completion.get("choices")
    if completion.get("error") is not None:
        return "error"
    if not isinstance(told, list) or not all(_is_choice(choice) for choice in told):
        return "unknown-body"
    if not told or len(told) != choices:
        return "incomplete"
    if {choice["index"] for choice in told} != set(range(len(told))):
        return "incomplete"
    for choice in told:
        if reason := _why_not_choice(choice, structure):
            return reason
    return None


def may_be_shared(reason: DiscardReason | None) -> bool:
    """Whether an answer may be sent to collapsed requests.

    `reason` says why the answer must not be stored. `reason` is None if it may be stored.
    """
    return reason in _WHOLE


def _is_choice(choice: object) -> bool:
    return (
        isinstance(choice, dict)
        and type(choice.get("index")) is int
        and isinstance(choice.get("message"), dict)
    )


def _why_not_choice(choice: Mapping[str, Any], structure: Structure) -> DiscardReason | None:
    message = choice["message"]
    reason = choice.get("finish_reason")
    if choice.get("error") is not None:
        return "error"
    if not isinstance(reason, str) or reason not in _FINISHED:
        return "incomplete" if reason is None else "finish-reason"
    if message.get("refusal"):
        return "refusal"
    if message.get("audio") is not None:
        return "audio"
    if _calls_a_tool(message):
        return "invalid-json" if has_broken_calls(message, structure) else None
    if reason != "stop":
        return "incomplete"
    if _is_empty(message.get("content")):
        return "empty"
    return "invalid-json" if has_broken_text(message, structure) else None


def _is_empty(content: object) -> bool:
    return not (content.strip() if isinstance(content, str) else content)


def _calls_a_tool(message: Mapping[str, Any]) -> bool:
    return bool(message.get("tool_calls")) or message.get("function_call") is not None


def is_exact_only(completion: JsonObject, structure: Structure = _FREE) -> bool:
    """Whether an answer must not be served by meaning because it calls a tool.

    A call that the request forced does not count, because the arguments of this call are the
    answer.
    """
    messages = [choice["message"] for choice in completion["choices"]]
    return any(_calls_a_tool(message) and calls_others(message, structure) for message in messages)
