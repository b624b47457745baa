"""May this request use the cache; which neighbours may answer; may this answer be stored.

Rules of this file: it decides and does nothing; every no has a token that users can look up in
README; when in doubt, no.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.headers import CacheControl, cache_control
from app.models import Aging, Bypass, Header, Neighbor, Unfit
from app.openai import ChatRequest, JsonObject

_FINISHED = frozenset({"stop", "tool_calls", "function_call"})
_WHOLE = frozenset({None, "finish-reason", "refusal", "audio", "empty"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What a deployment allows.

    `max_distance` is cosine; `max_bytes` is the size of a body; the rest is in seconds:
    `ttl` the freshness lifetime, the others what one look-up may cost. With `finish_abandoned`, an
    answer that all clients have left is fetched to its end, and stored.
    """

    max_distance: float = 0.15
    max_temperature: float = 1.0
    max_bytes: int = 10_485_760
    ttl: float = 3600.0
    store_timeout: float = 0.25
    embedder_timeout: float = 2.0
    finish_abandoned: bool = False


def bypass_reason(chat: ChatRequest, control: CacheControl, limits: Limits) -> Bypass | None:
    """Say why a request must not use the cache at all, or None if it may."""
    body = chat.document
    if control.no_store:
        return "no-store"
    if body.get("store") not in (None, False):
        return "store"
    if body.get("web_search_options") is not None:
        return "web-search"
    if body.get("plugins") is not None:
        return "plugins"
    if _uses_audio(chat):
        return "audio"
    if chat.temperature is not None and chat.temperature > limits.max_temperature:
        return "temperature"
    return None


def _uses_audio(chat: ChatRequest) -> bool:
    modalities = chat.document.get("modalities")
    if chat.document.get("audio") is not None:
        return True
    if modalities is not None and modalities != ["text"]:
        return True
    return any(m.get("audio") is not None or _has_audio_part(m) for m in chat.messages)


def _has_audio_part(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any("audio" in part["type"] for part in content)


def may_answer(stored: Aging, control: CacheControl, now: float) -> bool:
    """Tell whether a stored response may be served without asking again (RFC 9111 §4.2, §5.2.1)."""
    if control.no_cache or not stored.is_fresh(now):
        return False
    if control.max_age is not None and stored.age(now) > control.max_age:
        return False
    return control.min_fresh is None or stored.ttl(now) >= control.min_fresh


def candidates(
    neighbors: Iterable[Neighbor], control: CacheControl, limits: Limits, now: float
) -> list[Neighbor]:
    """Give the neighbours that are near enough and may answer, nearest first."""
    near = [
        neighbor
        for neighbor in neighbors
        if math.isfinite(neighbor.distance)
        and neighbor.distance <= limits.max_distance
        and may_answer(neighbor.stored, control, now)
    ]
    return sorted(near, key=lambda neighbor: neighbor.distance)


def why_not_stored(completion: JsonObject, choices: int) -> Unfit | None:
    """Say why a completion must not be stored, or None if it may.

    `choices` is how many were asked for: an answer with fewer is incomplete.
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
        if reason := _why_not_choice(choice):
            return reason
    return None


def is_whole(reason: Unfit | None) -> bool:
    """Tell whether an answer that is not stored for a reason may still go to all who asked."""
    return reason in _WHOLE


def _is_choice(choice: object) -> bool:
    return (
        isinstance(choice, dict)
        and type(choice.get("index")) is int
        and isinstance(choice.get("message"), dict)
    )


def _why_not_choice(choice: Mapping[str, Any]) -> Unfit | None:
    message = choice["message"]
    reason = choice.get("finish_reason")
    if choice.get("error") is not None:
        return "error"
    if reason not in _FINISHED:
        return "incomplete" if reason is None else "finish-reason"
    if message.get("refusal"):
        return "refusal"
    if message.get("audio") is not None:
        return "audio"
    if _calls_a_tool(message):
        return None
    if reason != "stop":
        return "incomplete"
    return "empty" if _is_empty(message.get("content")) else None


def _is_empty(content: object) -> bool:
    return not (content.strip() if isinstance(content, str) else content)


def _calls_a_tool(message: Mapping[str, Any]) -> bool:
    return bool(message.get("tool_calls")) or message.get("function_call") is not None


def is_exact_only(completion: JsonObject) -> bool:
    """Tell whether an answer may serve only the very same question: it calls a tool."""
    return any(_calls_a_tool(choice["message"]) for choice in completion["choices"])


def freshness_lifetime(headers: Sequence[Header], limits: Limits, *, is_stream: bool) -> float:
    """Tell for how many seconds an answer stays fresh; 0 means that it must not be stored.

    Streams are exempt from the upstream's Cache-Control: frameworks set `no-cache` on all of them.
    """
    if is_stream:
        return limits.ttl
    control = cache_control(headers)
    if control.no_store:
        return 0.0
    return limits.ttl if control.max_age is None else min(limits.ttl, control.max_age)
