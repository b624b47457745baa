"""May this request use the cache; which neighbours may answer; may this answer be stored.

Rules of this file: it decides and does nothing; every no has a token that users can look up in
README; when in doubt, no.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.core.models import BypassReason, Candidate, DiscardReason, Fullness, StoredResponse
from app.core.tags import Tagging
from app.dialects.chat_completions.request import ChatRequest, JsonObject
from app.dialects.chat_completions.structured import Structure, has_broken_calls, has_broken_text
from app.rules.headers import CacheControl

_FINISHED = frozenset({"stop", "tool_calls", "function_call"})
_MOST_CANDIDATES = 4  # what is worth being read word by word
_FREE = Structure()
_WHOLE = frozenset({None, "finish-reason", "refusal", "audio", "empty"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What a deployment allows.

    `max_distance` is cosine; `max_bytes` is the size of a body; the rest is in seconds: `ttl` the
    freshness lifetime, `min_ttl` and `max_ttl` its bounds where a client asks for another one,
    `volatile_ttl` that of answers that are bound to their time,
    `stale_while_revalidate` and `stale_if_error` how far past it an answer may serve, the
    timeouts what one look-up may cost. With `finish_abandoned`, an answer that all clients have
    left is fetched to its end, and stored.
    """

    max_distance: float = 0.15
    max_temperature: float = 1.0
    max_bytes: int = 10_485_760
    ttl: float = 3600.0
    min_ttl: float = 0.0
    max_ttl: float = 2_592_000.0
    volatile_ttl: float = 60.0
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    store_timeout: float = 0.25
    embedder_timeout: float = 2.0
    finish_abandoned: bool = False

    @property
    def stale_lifetime(self) -> float:
        """How far past its freshness an answer may serve at the most."""
        return max(self.stale_while_revalidate, self.stale_if_error)

    @property
    def candidates(self) -> int:
        """How many of the nearest are looked at: more where stale ones may hide fresh ones."""
        return _MOST_CANDIDATES if not self.stale_lifetime else 3 * _MOST_CANDIDATES


def bypass_reason(chat: ChatRequest, control: CacheControl, limits: Limits) -> BypassReason | None:
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


def may_be_reworded(stored: StoredResponse, asked: Tagging, entitled: Fullness) -> bool:
    """Tell whether an entry may answer another question than its own: with all tags, undisputed.

    And with the `usage` that the other request is entitled to.
    """
    has_all = stored.tagging.cover(asked) and stored.fullness >= entitled
    return has_all and not stored.is_disputed


def candidates(candidates: Iterable[Candidate], max_distance: float) -> list[Candidate]:
    """Give the neighbours that are near enough, a few, nearest first."""
    near = [
        candidate
        for candidate in candidates
        if math.isfinite(candidate.distance) and candidate.distance <= max_distance
    ]
    return sorted(near, key=lambda candidate: candidate.distance)[:_MOST_CANDIDATES]


def why_not_stored(
    completion: JsonObject, choices: int, structure: Structure = _FREE
) -> DiscardReason | None:
    """Say why a completion must not be stored, or None if it may.

    `choices` is how many were asked for: an answer with fewer is incomplete. `structure` is what
    was asked for, too: an answer that does not parse would break every retry.
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


def is_whole(reason: DiscardReason | None) -> bool:
    """Tell whether an answer that is not stored for a reason may still go to all who asked."""
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
    if reason not in _FINISHED:
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


def fullness(completion: JsonObject, entitled: Fullness) -> Fullness:
    """Tell how full the answer to a request is that was entitled to so much.

    One without `usage` has what the upstream gives to such a request, perhaps not all that it has.
    """
    return entitled if completion.get("usage") is None else Fullness.ALL


def is_exact_only(completion: JsonObject) -> bool:
    """Tell whether an answer may serve only the very same question: it calls a tool."""
    return any(_calls_a_tool(choice["message"]) for choice in completion["choices"])
