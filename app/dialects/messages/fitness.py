"""Decides whether a message may be stored, shared, and served by meaning.

docs/http-api.md explains each reason for not storing. In case of doubt, an answer is not stored.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.core.cache_status import DiscardReason
from app.dialects.dialect import Answer
from app.dialects.documents import written
from app.dialects.messages.events import ENVELOPE
from app.dialects.strict_json import JsonObject, is_json
from app.dialects.structure import Structure

_FINISHED = frozenset({"end_turn", "stop_sequence", "tool_use"})
_WHOLE = frozenset({None, "finish-reason", "refusal", "empty"})
_FREE = Structure()


def judged(message: JsonObject, structure: Structure) -> Answer:
    """Return the Answer for a message.

    The Answer says whether the message may be stored, shared, and matched by meaning.

    `structure` is the structure that the request demands of the answer.
    """
    message = {name: value for name, value in message.items() if name not in ENVELOPE}
    unfit = why_not_stored(message, structure)
    may_be_shared = unfit in _WHOLE
    return Answer(
        written(message if may_be_shared else {}),
        unfit=unfit,
        may_be_shared=may_be_shared,
        exact_only=unfit is None and _calls_others(message["content"], structure),
    )


def why_not_stored(
    message: Mapping[str, Any], structure: Structure = _FREE
) -> DiscardReason | None:
    """Return why a message must not be stored, or None if it may be stored.

    `structure` is the structure that the request demands of the answer.
    """
    if message.get("type") == "error" or message.get("error") is not None:
        return "error"
    content = message.get("content")
    if message.get("type") != "message" or not isinstance(message.get("usage"), dict):
        return "unknown-body"
    if message.get("container") is not None or not isinstance(content, list):
        return "unknown-body"
    if not all(_is_known(block) for block in content):
        return "unknown-body"
    match message.get("stop_reason"):
        case None:
            return "incomplete"
        case "refusal":
            return "refusal"
        case str(reason) if reason in _FINISHED:
            return _why_not_content(content, reason, structure)
    return "finish-reason"


def _why_not_content(
    content: Sequence[JsonObject], reason: str, structure: Structure
) -> DiscardReason | None:
    if calls := [block for block in content if block["type"] == "tool_use"]:
        broken = any(not call["input"] and call["name"] in structure.demanding for call in calls)
        return "invalid-json" if broken else None
    if reason == "tool_use":
        return "incomplete"
    text = "".join(block["text"] for block in content if block["type"] == "text")
    if not text.strip():
        return "empty"
    return "invalid-json" if structure.is_json and not is_json(text) else None


def _is_known(block: object) -> bool:
    """Whether a block is well-formed and was written by the model.

    The result is False for a block that a tool on a server has produced.
    """
    if not isinstance(block, dict):
        return False
    match block.get("type"):
        case "text":
            return isinstance(block.get("text"), str) and _is_list(block.get("citations"))
        case "thinking":
            return isinstance(block.get("thinking"), str)
        case "tool_use":
            return isinstance(block.get("input"), dict) and isinstance(block.get("name"), str)
        case "redacted_thinking":
            return True
    return False


def _is_list(value: object) -> bool:
    return value is None or isinstance(value, list)


def _calls_others(content: Sequence[JsonObject], structure: Structure) -> bool:
    """Whether a message calls any tool other than the one that the request forced."""
    return any(b["type"] == "tool_use" and b["name"] != structure.forced for b in content)
