"""What a request asks of this cache, beside its answer: Cache-Control and `x-cache-*` headers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from app.core.models import Header
from app.rules.headers import CacheControl, cache_control, seconds_of

TTL = b"x-cache-ttl"
MAX_DISTANCE = b"x-cache-max-distance"
TIER = b"x-cache-tier"

_ANY_TIER = "semantic"  # which nobody needs to say

_DISTANCE = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Directives:
    """What one request asks of this cache.

    `ttl` is the freshness lifetime of the answer that it brings, in seconds; `max_distance` is
    cosine. None where it does not say. With `exact_only`, nothing is matched by meaning.
    """

    control: CacheControl
    ttl: float | None = None
    max_distance: float | None = None
    exact_only: bool = False


def directives(headers: Iterable[Header]) -> Directives:
    """Read the directives of a request; of several lines, or of a bad value, the strictest way.

    That is 0: nothing is stored for longer than `MIN_TTL`, nothing farther than 0 answers; and of
    tiers, exact matches only.
    """
    lines = list(headers)
    return Directives(
        control=cache_control(lines),
        ttl=min((seconds_of(value) or 0.0 for value in _values(lines, TTL)), default=None),
        max_distance=min(
            (_distance(value) for value in _values(lines, MAX_DISTANCE)), default=None
        ),
        exact_only=any(value.lower() != _ANY_TIER for value in _values(lines, TIER)),
    )


def _values(headers: Iterable[Header], name: bytes) -> Iterable[str]:
    for key, value in headers:
        if key == name:
            for item in value.decode("latin-1").split(","):
                yield item.strip(" \t")


def _distance(value: str) -> float:
    return float(value) if _DISTANCE.fullmatch(value) else 0.0
