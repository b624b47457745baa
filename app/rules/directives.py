"""The headers by which a request controls this cache: Cache-Control and `x-cache-*`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from app.core.models import Header
from app.rules.headers import CacheControl, cache_control, seconds_of

TTL = b"x-cache-ttl"
MAX_DISTANCE = b"x-cache-max-distance"
TIER = b"x-cache-tier"

_ANY_TIER = "semantic"  # the default: exact matches and hits by meaning

_DISTANCE = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Directives:
    """What one request asks of this cache.

    `control`: the request's Cache-Control.
    `ttl`: the freshness lifetime, in seconds, of the answer that the request fetches; None if not
    set.
    `max_distance`: the greatest cosine distance of a hit by meaning; None if not set.
    `exact_only`: only an exact match may serve the request.
    """

    control: CacheControl
    ttl: float | None = None
    max_distance: float | None = None
    exact_only: bool = False


def directives(headers: Iterable[Header]) -> Directives:
    """Return the directives in a request's headers. Unclear headers get their strictest meaning.

    If an `x-cache-*` header is repeated, its smallest value counts. An invalid number counts as 0.
    If the lifetime is 0, the answer stays fresh only for the operator's `min_ttl`. If the greatest
    distance is 0, only a hit at distance 0 may be served. An unknown tier allows only exact
    matches.
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
