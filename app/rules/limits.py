"""What a deployment allows, and which candidates are near enough."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from app.core.models import Candidate

MOST_VERIFIED = 3
"""The greatest number of candidates, of those that guards let pass, that a verifier judges."""

MOST_CANDIDATES = 8
"""The greatest number of candidates that guards judge. If one is refused, another may serve."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a deployment allows.

    Times are in seconds.

    `max_distance`: the greatest cosine distance of a hit by meaning.
    `max_temperature`: a request with a higher temperature does not use the cache.
    `max_bytes`: the size in bytes of the largest request body, or answer, that is cached.
    `ttl`: the freshness lifetime, unless a client asks for another one.
    `min_ttl`, `max_ttl`: the bounds of a freshness lifetime that a client asks for.
    `volatile_ttl`: the longest freshness lifetime of answers to time-bound questions.
    `stale_while_revalidate`, `stale_if_error`: how long a stale answer may be served (RFC 5861).
    `store_timeout`, `embedder_timeout`: how long the store, and the embedder, may take in the
    look-up of one request.
    `finish_abandoned`: whether the rest of an answer is fetched and stored after all its clients
    have left.
    `min_probability`: the least probability that the verifier must give. It counts only if it is
    above the dial's line.
    `share_after`: how many callers, told apart by credentials, must have sent the same request
    before others may get its answer by meaning. It counts only if all callers share answers.
    """

    max_distance: float = 0.15
    min_probability: float = 0.0
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
        """The number of seconds for which an answer is kept after it has become stale."""
        return max(self.stale_while_revalidate, self.stale_if_error)

    @property
    def candidates(self) -> int:
        """The number of candidates to ask the store for: more if some of them may be stale."""
        return MOST_CANDIDATES if not self.stale_lifetime else 3 * MOST_CANDIDATES


def nearest_within(candidates: Iterable[Candidate], max_distance: float) -> list[Candidate]:
    """Return the candidates up to `max_distance`, nearest first. At most eight are returned."""
    near = [
        candidate
        for candidate in candidates
        if math.isfinite(candidate.distance) and candidate.distance <= max_distance
    ]
    return sorted(near, key=lambda candidate: candidate.distance)[:MOST_CANDIDATES]
