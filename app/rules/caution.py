"""Caution: hits by meaning must be surer than the operator asks, after wrong hits were found."""

from dataclasses import dataclass

EXACT_ONLY = 3
"""The level at which only exact matches are served."""


@dataclass(frozen=True, slots=True)
class Caution:
    """Which hits by meaning are served at a level. Level 0 is what the operator asks.

    Each level halves the doubt that is allowed. With a verifier, the doubt is 1 minus its
    probability; without one, it is the cosine distance. At level 0, `least` is the least
    probability and `max_distance` the greatest distance.
    """

    level: int = 0
    max_distance: float = 2.0
    least: float | None = None

    def serves(self, distance: float, probability: float | None) -> bool:
        """Whether a candidate with this distance and probability may be served."""
        if self.level >= EXACT_ONLY:
            return False
        if not self.level:
            return True
        part = 2.0**-self.level
        if self.least is None or probability is None:
            return distance <= self.max_distance * part
        return probability >= 1 - (1 - self.least) * part


NO_CAUTION = Caution()
"""Level 0: what the operator asks."""
