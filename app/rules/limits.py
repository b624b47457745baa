"""What a deployment allows, and which candidates are near enough."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from app.core.models import Candidate

_MOST_CANDIDATES = 4  # what is worth being read word by word


@dataclass(frozen=True, slots=True)
class Limits:
    """What a deployment allows.

    `max_distance` is cosine; `max_bytes` is the size of a body; the rest is in seconds: `ttl` the
    freshness lifetime, `min_ttl` and `max_ttl` its bounds where a client asks for another one,
    `volatile_ttl` that of answers that are bound to their time,
    `stale_while_revalidate` and `stale_if_error` how far past it an answer may serve, the
    timeouts what one look-up may cost. With `finish_abandoned`, an answer that all clients have
    left is fetched to its end, and stored. `share_after` is how many credentials must have asked
    the very same before an entry answers others by meaning, where all share answers.
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
    share_after: int = 2

    @property
    def stale_lifetime(self) -> float:
        """How far past its freshness an answer may serve at the most."""
        return max(self.stale_while_revalidate, self.stale_if_error)

    @property
    def candidates(self) -> int:
        """How many of the nearest are looked at: more where stale ones may hide fresh ones."""
        return _MOST_CANDIDATES if not self.stale_lifetime else 3 * _MOST_CANDIDATES


def nearest_within(candidates: Iterable[Candidate], max_distance: float) -> list[Candidate]:
    """Return the few candidates that are near enough, nearest first."""
    near = [
        candidate
        for candidate in candidates
        if math.isfinite(candidate.distance) and candidate.distance <= max_distance
    ]
    return sorted(near, key=lambda candidate: candidate.distance)[:_MOST_CANDIDATES]
