"""What decides whether a neighbour's answer may serve: cheap proofs that two questions differ."""

import functools
import logging
from collections.abc import Callable, Iterable

from app.guards.proofs import refusal
from app.guards.reading import examine
from app.metrics import Metrics
from app.models import Guard, Neighbor

_TEXTS_KNOWN = 4096
_PAIRS_KNOWN = 16_384

_logger = logging.getLogger("reprise.cache")


class Judge:
    """Judges neighbours by the guards, and remembers what it has judged lately."""

    def __init__(self, metrics: Metrics) -> None:
        self._refusals = metrics.refusals
        evidence_of = functools.lru_cache(_TEXTS_KNOWN)(examine)

        @functools.lru_cache(_PAIRS_KNOWN)
        def judge(asked: str, stored: str) -> Guard | None:
            return refusal(evidence_of(asked), evidence_of(stored))

        self._judge: Callable[[str, str], Guard | None] = judge

    def first(self, asked: str, neighbors: Iterable[Neighbor]) -> Neighbor | None:
        """Give the first neighbour whose answer may serve a question, or None."""
        return next((n for n in neighbors if self._passes(asked, n)), None)

    def _passes(self, asked: str, neighbor: Neighbor) -> bool:
        stored = neighbor.stored.key.text
        if stored is None:
            return False
        guard = self._judge(asked, stored)
        if guard is not None:
            self._refusals.labels(guard.value).inc()
            _logger.debug(
                "%s refuses entry %s, %.4f away", guard, neighbor.stored.id, neighbor.distance
            )
        return guard is None


class Credulous:
    """Judges nothing: the distance alone decides, as in the tutorial."""

    def first(self, _asked: str, neighbors: Iterable[Neighbor]) -> Neighbor | None:
        """Give the first neighbour, or None."""
        return next(iter(neighbors), None)
