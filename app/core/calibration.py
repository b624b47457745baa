"""What a verifier's raw figure is worth: a probability, and where to draw the line."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

_NEVER = 2.0  # no probability is as high
_SURE = 4.0  # log-odds; beyond them a network's output is not borne out


def features(logit: float, distance: float) -> tuple[float, ...]:
    """Return the features of a pair: the network's log-odds and its cosine distance."""
    told = min(logit, _SURE)
    return 1.0, told, distance, told * distance


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured, with the embedder that ships, on pairs that the verifier had not seen.

    `weights` are those of a logistic regression on the features. `thresholds` are pairs of a
    share and a probability, shares rising: who serves only from that probability on keeps the share
    of wrong hits below the first.
    `max_distance` is how far apart two questions may be to be worth asking about.
    """

    weights: Sequence[float]
    max_distance: float
    thresholds: Sequence[tuple[float, float]]

    def probability(self, logit: float, distance: float) -> float:
        """Return the probability that one answer serves two questions a cosine distance apart."""
        told = sum(map(mul, self.weights, features(logit, distance)))
        return 0.5 + 0.5 * math.tanh(told / 2)

    def threshold(self, max_error_rate: float) -> float:
        """Return the least probability that may be served, for the share of hits that may be wrong.

        A share below the least that was measured cannot be promised: nothing reaches it.
        """
        at = bisect_right([share for share, _ in self.thresholds], max_error_rate)
        return self.thresholds[at - 1][1] if at else _NEVER
