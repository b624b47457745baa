"""Decides whether a text completion may be stored and shared.

docs/http-api.md explains each reason for not storing.
"""

from collections.abc import Mapping
from typing import Any

from app.core.cache_status import DiscardReason
from app.core.models import Fullness
from app.dialects.chunked import without_envelope
from app.dialects.dialect import Answer
from app.dialects.documents import written
from app.dialects.strict_json import JsonObject

_WHOLE = frozenset({None, "finish-reason", "empty"})


def judged(completion: JsonObject, choices: int, entitled: Fullness) -> Answer:
    """Return the Answer for a completion.

    The Answer says whether the completion may be stored and shared.

    `choices` is the number of choices that the request asked for. `entitled` says how much of
    `usage` the upstream sends in the answer to this request. If the completion has no
    `usage`, `entitled` is the fullness of the Answer.
    """
    completion = without_envelope(completion)
    unfit = why_not_stored(completion, choices)
    may_be_shared = unfit in _WHOLE
    return Answer(
        written(completion if may_be_shared else {}),
        entitled if completion.get("usage") is None else Fullness.ALL,
        unfit,
        may_be_shared,
    )


def why_not_stored(completion: Mapping[str, Any], choices: int) -> DiscardReason | None:
    """Return why a completion must not be stored, or None if it may be stored.

    `choices` is the number of choices that the request asked for.
    """
    told = completion.get("choices")
    if completion.get("error") is not None:
        return "error"
    if not isinstance(told, list) or not all(_is_choice(choice) for choice in told):
        return "unknown-body"
    if (
        not told
        or len(told) != choices
        or {choice["index"] for choice in told} != set(range(choices))
    ):
        return "incomplete"
    reasons = {choice.get("finish_reason") for choice in told}
    if reasons != {"stop"}:
        return "incomplete" if None in reasons else "finish-reason"
    return None if all(choice["text"].strip() for choice in told) else "empty"


def _is_choice(choice: object) -> bool:
    return (
        isinstance(choice, dict)
        and type(choice.get("index")) is int
        and isinstance(choice.get("text"), str)
        and isinstance(choice.get("finish_reason"), str | None)
        and choice.get("error") is None
    )
