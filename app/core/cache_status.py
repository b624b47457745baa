"""How a request was answered (CacheStatus), and responses that carry a CacheStatus."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from app.core.errors import Failure, Misread
from app.core.models import Aging, Header, StoredResponse, Usage

Forward = Literal["miss", "stale", "partial", "request", "bypass"]
"""Why a request was forwarded to the upstream (RFC 9211 §2.2)."""


BypassReason = (
    Misread
    | Literal["body-too-large", "defect", "labels", "must-be-new", "no-room", "no-store"]
    | Literal["passthrough", "policy"]
    | Literal["store", "web-search", "plugins", "audio", "temperature"]
    | Literal["background", "conversation", "hosted-tool", "prompt"]
)
"""Why a request bypasses the cache. docs/http-api.md explains each value."""


DiscardReason = (
    Misread
    | Literal["status", "content-type", "content-encoding", "no-store", "too-large", "error"]
    | Literal["incomplete", "finish-reason", "refusal", "audio", "empty", "invalid-json"]
    | Literal["hosted-tool", "no-room", "out-of-date", "still-fresh", "superseded"]
    | Literal["others-fresh"]
)
"""Why an answer is not stored. docs/http-api.md explains each value."""


class Outcome(StrEnum):
    """How a request was answered. These are the values of the header `x-cache`."""

    HIT = "HIT"
    STALE = "STALE"
    MISS = "MISS"
    PARTIAL = "PARTIAL"
    BYPASS = "BYPASS"


class Tier(StrEnum):
    """Whether a hit was found by its exact key or by meaning."""

    EXACT = "exact"
    SEMANTIC = "semantic"


@dataclass(frozen=True, slots=True)
class Saved:
    """What a hit saved: the tokens and the price of its answer, and the upstream's time.

    `usage`: the tokens; None if unknown.
    `nanodollars`: the price in billionths of a dollar; None if unknown.
    `seconds`: the time that the upstream would have taken; 0 if unknown.

    A stale hit saves time but no tokens, because the upstream is asked for a newer answer as well.
    """

    usage: Usage | None = None
    nanodollars: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """The parameters of the header `Cache-Status` (RFC 9211).

    Headers, the log line and metric labels are made from these parameters.

    `forward`: why the request was forwarded to the upstream; None if no reason is given.
    `detail`: why the cache was bypassed, or which part of the cache failed; otherwise None.
    `age`: the age of the stored response, in seconds.
    `ttl`: the stored response's remaining freshness lifetime in seconds; negative if stale.
    `distance`: the cosine distance of a hit by meaning; otherwise None.
    `forward_status`: the HTTP status of the upstream's failure, if a stored response was served
    because of this failure; otherwise None.
    `entry`: the id of the stored response.
    `shadow`: if the mode or caution holds hits back, the status that the request would have had if
    hits were served; otherwise None.
    `saved`: the tokens, price and time that a hit saved; None if nothing was saved.
    """

    outcome: Outcome
    forward: Forward | None = None
    forward_status: int | None = None
    detail: BypassReason | Failure | None = None
    tier: Tier | None = None
    distance: float | None = None
    age: int = 0
    ttl: int = 0
    collapsed: bool = False
    entry: str = ""
    shadow: "CacheStatus | None" = None
    saved: Saved | None = None

    @property
    def is_stored(self) -> bool:
        """Whether the answer comes from the store, fresh or stale."""
        return self.outcome in {Outcome.HIT, Outcome.STALE}

    @classmethod
    def hit(cls, stored: StoredResponse, now: float, distance: float | None) -> "CacheStatus":
        """Return the cache status of an answer from the store.

        `now` is in seconds since 1970. `distance` is None for an exact match.
        """
        return cls(
            Outcome.HIT if stored.is_fresh(now) else Outcome.STALE,
            tier=Tier.EXACT if distance is None else Tier.SEMANTIC,
            distance=distance,
            age=int(stored.age(now)),
            ttl=whole_ttl(stored, now),
            entry=stored.id,
        )

    def instead_of(self, status_code: int | None) -> "CacheStatus":
        """Return a copy for a stored answer that is served because the upstream failed.

        `status_code` is the HTTP status with which the upstream failed, or None if the upstream
        sent no response.
        """
        forward: Forward = "stale" if self.outcome is Outcome.STALE else "request"
        return replace(self, forward=forward, forward_status=status_code)

    @classmethod
    def miss(
        cls, entry: str, *, forward: Forward = "miss", detail: Failure | None = None
    ) -> "CacheStatus":
        """Return the cache status of an answer from the upstream.

        `entry` is the id under which the answer may be stored; empty if there is no id. `forward`
        says why the request was forwarded. `detail` says which part of the cache failed; None if
        no part failed.
        """
        return cls(Outcome.MISS, forward=forward, detail=detail, entry=entry)

    @classmethod
    def bypass(cls, detail: BypassReason) -> "CacheStatus":
        """Return the cache status of a request that bypasses the cache; `detail` says why."""
        return cls(Outcome.BYPASS, forward="bypass", detail=detail)


def whole_ttl(stored: Aging, now: float) -> int:
    """Return the remaining freshness lifetime in whole seconds.

    If `stored` is stale, the result is -1 or lower.
    """
    seconds = int(stored.freshness_lifetime) - int(stored.age(now))
    return seconds if stored.is_fresh(now) else min(seconds, -1)


@dataclass(frozen=True, slots=True)
class Head:
    """A response without its body. Headers such as `Cache-Status` are made from `cache_status`."""

    status_code: int
    headers: Sequence[Header]
    cache_status: CacheStatus


@dataclass(frozen=True, slots=True)
class Replay:
    """A whole response that is ready to be sent."""

    head: Head
    body: bytes

    def named(self, request_id: str) -> "Replay":
        """Return a copy with an `x-request-id` header, which SDKs show to their users."""
        headers = [*self.head.headers, (b"x-request-id", request_id.encode())]
        head = self.head
        return Replay(Head(head.status_code, headers, head.cache_status), self.body)

    def readable_by(self, allow_origin: str) -> "Replay":
        """Return a copy whose Access-Control-Allow-Origin header is `allow_origin`."""
        headers = [
            *self.head.headers,
            (b"access-control-allow-origin", allow_origin.encode("latin-1")),
        ]
        return replace(self, head=replace(self.head, headers=headers))

    def instead_of(self, status_code: int | None) -> "Replay":
        """Return a copy that is served because the upstream failed.

        `status_code` is as in `CacheStatus.instead_of`.
        """
        status = self.head.cache_status.instead_of(status_code)
        return replace(self, head=replace(self.head, cache_status=status))
