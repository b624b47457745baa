"""How much surer a hit by meaning must be than the operator asks, after mistakes were seen."""

from dataclasses import dataclass

EXACT_ONLY = 3
"""The level at which nothing is answered by meaning."""


@dataclass(frozen=True, slots=True)
class Caution:
    """What answers by meaning at a level: 0 is what the operator asks, and nothing is looser.

    Each level halves the doubt that is left: the verifier's, or the cosine distance where there is
    no verifier. `least` and `max_distance` are those of level 0.
    """

    level: int = 0
    max_distance: float = 2.0
    least: float | None = None

    def serves(self, distance: float, probability: float | None) -> bool:
        """Whether a candidate answers that far away, and as probably right as the verifier says."""
        if self.level >= EXACT_ONLY:
            return False
        if not self.level:
            return True
        part = 2.0**-self.level
        if self.least is None or probability is None:
            return distance <= self.max_distance * part
        return probability >= 1 - (1 - self.least) * part


NO_CAUTION = Caution()
"""What the operator asks, and no more."""
