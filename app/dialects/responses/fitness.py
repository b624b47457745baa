"""Decides whether a response may be stored, shared, and served by meaning.

docs/http-api.md explains each reason for not storing. In case of doubt, an answer is not stored.
"""

from collections.abc import Mapping
from typing import Any

from app.core.cache_status import DiscardReason
from app.dialects.responses.structured import (
    has_broken_text,
    is_answer,
    is_broken_call,
    texts_in,
)
from app.dialects.structure import Structure

FUNCTION_CALL, CUSTOM_CALL = "function_call", "custom_tool_call"
"""Types of items that ask the client to call a tool."""

_CALLS = frozenset({FUNCTION_CALL, CUSTOM_CALL})
_ITEMS = _CALLS | {"message", "reasoning"}
_CUT, _FAILED = "incomplete", "failed"
_WHOLE = frozenset({None, "finish-reason", "refusal", "empty"})
_FREE = Structure()


def why_not_stored(
    response: Mapping[str, Any], structure: Structure = _FREE
) -> DiscardReason | None:
    """Return why a response must not be stored, or None if it may be stored.

    `structure` is the structure that the request demands of the answer.
    """
    status, output = response.get("status"), response.get("output")
    if response.get("error") is not None or status == _FAILED:
        return "error"
    if not isinstance(output, list) or not all(isinstance(item, dict) for item in output):
        return "unknown-body"
    if not isinstance(response.get("id"), str):
        return "unknown-body"
    if status == _CUT:
        return "finish-reason"
    if status != "completed":
        return "incomplete"
    for item in output:
        if reason := _why_not_item(item, structure):
            return reason
    return None if any(map(_says_something, output)) else "empty"


def may_be_shared(reason: DiscardReason | None) -> bool:
    """Whether an answer may be sent to collapsed requests.

    `reason` says why the answer must not be stored. `reason` is None if it may be stored.
    """
    return reason in _WHOLE


def is_exact_only(response: Mapping[str, Any], structure: Structure = _FREE) -> bool:
    """Whether an answer must not be served by meaning because it calls a tool.

    A call that the request forced does not count, because the arguments of this call are the
    answer.
    """
    calls = [item for item in response["output"] if item["type"] in _CALLS]
    if structure.forced is None:
        return bool(calls)
    return any(c["type"] != FUNCTION_CALL or c.get("name") != structure.forced for c in calls)


def _why_not_item(item: Mapping[str, Any], structure: Structure) -> DiscardReason | None:
    kind = item.get("type")
    if (
        not isinstance(kind, str) or kind not in _ITEMS
    ):  # what a tool of the upstream's has found or done
        return "hosted-tool"
    if item.get("status") not in (None, "completed"):
        return "incomplete"
    if kind == "message":
        return _why_not_message(item, structure)
    if kind == "reasoning":
        told = [item.get("summary") or [], item.get("content") or []]
        is_known = all(isinstance(parts, list) and all(map(_has_text, parts)) for parts in told)
        return None if is_known else "unknown-body"
    if kind == FUNCTION_CALL and is_broken_call(item, structure):
        return "invalid-json"
    return None if isinstance(item.get("input", ""), str) else "unknown-body"


def _has_text(part: object) -> bool:
    return (
        isinstance(part, dict)
        and isinstance(part.get("type"), str)
        and isinstance(part.get("text"), str)
    )


def _why_not_message(message: Mapping[str, Any], structure: Structure) -> DiscardReason | None:
    parts = message.get("content")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        return "unknown-body"
    kinds = [part.get("type") for part in parts]
    if "refusal" in kinds:
        return "refusal"
    if any("audio" in str(kind) for kind in kinds):
        return "audio"
    if any(kind != "output_text" for kind in kinds) or not all(map(_has_text, parts)):
        return "unknown-body"
    return "invalid-json" if has_broken_text(message, structure) else None


def _says_something(item: Mapping[str, Any]) -> bool:
    if item["type"] in _CALLS:
        return True
    return is_answer(item) and any(text.strip() for text in texts_in(item))
