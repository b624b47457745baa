"""Rules that OpenAI's APIs have in common."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from app.dialects.fields import digest_of_fields
from app.dialects.strict_json import JsonObject

_WORDS = re.compile(r"\w+")

NEUTRAL_FIELDS = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "stream",
        "stream_options",
        "user",
    }
)
"""Body fields that do not change the answer."""

_CACHE_OPTIONS = "prompt_cache_options"
# The only cache options that change the answer. `prewarm` asks for no output at all.
# `comparison_response_id` asks for a report in addition to the output.
_TELLING_OPTIONS = ("comparison_response_id", "prewarm")

_TREATMENT = (NEUTRAL_FIELDS | {"store"}) - {"stream", "stream_options"}


def without_neutral(document: Mapping[str, Any]) -> JsonObject:
    """Return the fields of a request, except fields that do not change the answer."""
    told = {name: value for name, value in document.items() if name not in NEUTRAL_FIELDS}
    options = document.get(_CACHE_OPTIONS)
    if isinstance(options, dict):
        telling = {name: options[name] for name in _TELLING_OPTIONS if options.get(name)}
        told |= {_CACHE_OPTIONS: telling} if telling else {}
    return told


def treatment_of(document: Mapping[str, Any]) -> str:
    """Return a digest of the fields that change the handling of a request, but not the answer.

    Requests with different digests are not collapsed. If they were collapsed, a request might wait
    in the slower service tier of another request. It might also fail because the upstream refuses
    the metadata of another request. The digest is empty if the request sets none of the fields.
    """
    return digest_of_fields(document, _TREATMENT)


def numbers_of(ids: Iterable[str], texts: Iterable[str]) -> dict[str, int]:
    """Return numbers for the ids of tool calls, in the order in which the ids first appear.

    The only use of an id is to link a call to its result, so a number can replace the id. If all
    words of an id occur in `texts`, the id gets no number, because a text may refer to this id.
    """
    names = dict.fromkeys(ids)
    if not names:
        return {}
    spoken = {word for text in texts for word in _WORDS.findall(text)}
    links = [name for name in names if not spoken.issuperset(_WORDS.findall(name))]
    return {name: number for number, name in enumerate(links)}
