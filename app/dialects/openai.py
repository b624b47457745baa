"""What OpenAI's APIs have in common."""

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
# Of these: one that asks for no output at all, and one that asks for a report beside it.
_TELLING_OPTIONS = ("comparison_response_id", "prewarm")

_TREATMENT = (NEUTRAL_FIELDS | {"store"}) - {"stream", "stream_options"}


def without_neutral(document: Mapping[str, Any]) -> JsonObject:
    """Return the fields of a request but for what does not change the answer."""
    told = {name: value for name, value in document.items() if name not in NEUTRAL_FIELDS}
    options = document.get(_CACHE_OPTIONS)
    if isinstance(options, dict):
        telling = {name: options[name] for name in _TELLING_OPTIONS if options.get(name)}
        told |= {_CACHE_OPTIONS: telling} if telling else {}
    return told


def treatment_of(document: Mapping[str, Any]) -> str:
    """Return a digest of what may change how the upstream treats a request, but not the answer.

    Requests that differ in it share no upstream request. So nobody waits in the slower service tier
    of another caller, and metadata that the upstream refuses fails its sender alone. Empty where a
    request sets nothing of that kind.
    """
    return digest_of_fields(document, _TREATMENT)


def numbers_of(ids: Iterable[str], texts: Iterable[str]) -> dict[str, int]:
    """Return a number for each id of a call, in order of appearance.

    An id that only links a call to its result may have any name. One whose words all occur in
    `texts` has no number: the model may have been told about it.
    """
    names = dict.fromkeys(ids)
    if not names:
        return {}
    spoken = {word for text in texts for word in _WORDS.findall(text)}
    links = [name for name in names if not spoken.issuperset(_WORDS.findall(name))]
    return {name: number for number, name in enumerate(links)}
