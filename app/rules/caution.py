"""Caution: after audits found mistakes, hits by meaning must be more certain than usual."""

from dataclasses import dataclass

EXACT_ONLY = 3
"""The level at which only exact matches are served."""


@dataclass(frozen=True, slots=True)
class Caution:
    """Decides which hits by meaning are served at a level of caution.

    At level 0, the operator's settings are used unchanged. Each higher level halves the greatest
    doubt allowed; at level 3 only exact matches are served. With a verifier, the doubt is 1 minus
    the verifier's probability. Without a verifier, the doubt is the cosine distance. `least`
    is the least probability that the verifier must give at level 0; None without a verifier.
    `max_distance` is the greatest cosine distance at level 0.
    """

    level: int = 0
    max_distance: float = 2.0
    least: float | None = None

    def serves(self, distance: float, probability: float | None) -> bool:
        """Whether a candidate with this distance and probability may be served.

        `probability` is the verifier's; None if no verifier was asked.
        """
        if self.level >= EXACT_ONLY:
            return False
        if not self.level:
            return True
        part = 2.0**-self.level
        if self.least is None or probability is None:
            return distance <= self.max_distance * part
        return probability >= 1 - (1 - self.least) * part


NO_CAUTION = Caution()
"""Level 0: hits are only as strict as the operator asks."""
