"""What became of a request, and the response that says so."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from app.core.errors import Failure, Misread
from app.core.models import Aging, Header, StoredResponse

Forward = Literal["miss", "stale", "partial", "request", "bypass"]
"""Why a request went upstream (RFC 9211 §2.2)."""


BypassReason = (
    Misread
    | Literal["body-too-large", "defect", "labels", "must-be-new", "no-store", "passthrough"]
    | Literal["store", "web-search", "plugins", "audio", "temperature"]
    | Literal["background", "conversation", "hosted-tool", "prompt"]
)
"""Why a request goes past the cache: a token that docs/http-api.md explains."""


DiscardReason = (
    Misread
    | Literal["status", "content-type", "content-encoding", "no-store", "too-large", "error"]
    | Literal["incomplete", "finish-reason", "refusal", "audio", "empty", "invalid-json"]
    | Literal["hosted-tool", "out-of-date", "still-fresh", "superseded", "others-fresh"]
)
"""Why an answer is not stored: a token that docs/http-api.md explains."""


class Outcome(StrEnum):
    """What became of a request; the value of `x-cache`."""

    HIT = "HIT"
    STALE = "STALE"
    MISS = "MISS"
    PARTIAL = "PARTIAL"
    BYPASS = "BYPASS"


class Tier(StrEnum):
    """How a hit was found."""

    EXACT = "exact"
    SEMANTIC = "semantic"


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """The parameters of RFC 9211 as fields: header, log line and metric labels are made of this.

    `age` and `ttl` are in seconds. `forward_status` is the status with which the upstream failed,
    where a stored response takes its place. `shadow` is what would be said if all that is found
    answered; None where it does.
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

    @property
    def is_stored(self) -> bool:
        """Whether the answer comes from the store, fresh or stale."""
        return self.outcome in {Outcome.HIT, Outcome.STALE}

    @classmethod
    def hit(cls, stored: StoredResponse, now: float, distance: float | None) -> "CacheStatus":
        """Describe an answer from the store; `distance` is None for an exact match."""
        return cls(
            Outcome.HIT if stored.is_fresh(now) else Outcome.STALE,
            tier=Tier.EXACT if distance is None else Tier.SEMANTIC,
            distance=distance,
            age=int(stored.age(now)),
            ttl=whole_ttl(stored, now),
            entry=stored.id,
        )

    def instead_of(self, status_code: int | None) -> "CacheStatus":
        """Describe an answer from the store that takes the place of a failure of the upstream.

        `status_code` is the failure's, or None where there was no answer at all.
        """
        forward: Forward = "stale" if self.outcome is Outcome.STALE else "request"
        return replace(self, forward=forward, forward_status=status_code)

    @classmethod
    def miss(
        cls, entry: str, *, forward: Forward = "miss", detail: Failure | None = None
    ) -> "CacheStatus":
        """Describe an answer from the upstream that the store may keep as `entry`."""
        return cls(Outcome.MISS, forward=forward, detail=detail, entry=entry)

    @classmethod
    def bypass(cls, detail: BypassReason) -> "CacheStatus":
        """Describe a request that the cache has nothing to do with; `detail` says why."""
        return cls(Outcome.BYPASS, forward="bypass", detail=detail)


def whole_ttl(stored: Aging, now: float) -> int:
    """Round a TTL to whole seconds, negative for all that is stale."""
    seconds = int(stored.freshness_lifetime) - int(stored.age(now))
    return seconds if stored.is_fresh(now) else min(seconds, -1)


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a response; headers such as `Cache-Status` are made of `cache_status`."""

    status_code: int
    headers: Sequence[Header]
    cache_status: CacheStatus


@dataclass(frozen=True, slots=True)
class Replay:
    """A whole response that is ready to be sent."""

    head: Head
    body: bytes

    def named(self, request_id: str) -> "Replay":
        """Return the same with an `x-request-id`, by which SDKs tell requests apart."""
        headers = [*self.head.headers, (b"x-request-id", request_id.encode())]
        head = self.head
        return Replay(Head(head.status_code, headers, head.cache_status), self.body)

    def readable_by(self, allow_origin: str) -> "Replay":
        """Return the same with an Access-Control-Allow-Origin of this value."""
        headers = [
            *self.head.headers,
            (b"access-control-allow-origin", allow_origin.encode("latin-1")),
        ]
        return replace(self, head=replace(self.head, headers=headers))

    def instead_of(self, status_code: int | None) -> "Replay":
        """Return the same in place of an upstream that failed; see `CacheStatus.instead_of`."""
        status = self.head.cache_status.instead_of(status_code)
        return replace(self, head=replace(self.head, cache_status=status))
