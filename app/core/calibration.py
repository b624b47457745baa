"""From a verifier's score to a probability, and the least probability to serve from."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Literal

_NEVER = 2.0  # no probability is as high
_SURE = 4.0  # log-odds; beyond them the output of the network that ships is not borne out
_LEAST = 1e-6  # of a probability whose log-odds are taken

Scale = Literal["logit", "probability"]
"""What a verifier says: log-odds, of any size, or a figure from 0 to 1."""


def features(logit: float, distance: float, sure: float = _SURE) -> tuple[float, ...]:
    """Return the features of a pair: the verifier's log-odds, at most `sure`, and its distance."""
    told = min(logit, sure)
    return 1.0, told, distance, told * distance


def log_odds(score: float, scale: Scale) -> float:
    """Return a verifier's score as log-odds; raises ValueError for a probability beyond 0 to 1."""
    if scale == "logit":
        return score
    if not 0 <= score <= 1:
        raise ValueError("not a probability")
    share = min(max(score, _LEAST), 1 - _LEAST)
    return math.log(share / (1 - share))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured, with one embedder, on pairs that the verifier had not seen.

    `weights` are those of a logistic regression on the features. `thresholds` are pairs of a share
    and a probability, shares rising: serving from that probability on keeps the share of wrong hits
    at or below the first. `max_distance` is the greatest cosine distance of two questions that are
    worth asking about. `sure` is the greatest log-odds that count. `scale` is that of the
    verifier's scores.
    """

    weights: Sequence[float]
    max_distance: float
    thresholds: Sequence[tuple[float, float]]
    sure: float = _SURE
    scale: Scale = "logit"

    def probability(self, score: float, distance: float) -> float:
        """Return the probability that one answer serves two questions a cosine distance apart."""
        return self._probability(log_odds(score, self.scale), distance)

    def highest(self, distance: float) -> float:
        """Return the highest probability that any score gives at a distance: that of `sure`.

        1 where nothing cuts the log-odds off, or where probabilities fall as they rise.
        """
        if not math.isfinite(self.sure):
            return 1.0
        highest = self._probability(self.sure, distance)
        return highest if highest >= self._probability(self.sure - 1, distance) else 1.0

    def _probability(self, told: float, distance: float) -> float:
        used = features(told, distance, self.sure)
        return 0.5 + 0.5 * math.tanh(sum(map(mul, self.weights, used)) / 2)

    def threshold(self, max_error_rate: float) -> float:
        """Return the least probability that may be served, for the share of hits that may be wrong.

        For a share below all that were measured, that is a probability which none reaches.
        """
        at = bisect_right([share for share, _ in self.thresholds], max_error_rate)
        return self.thresholds[at - 1][1] if at else _NEVER


def uncalibrated(max_distance: float) -> Calibration:
    """Return a calibration that keeps a verifier's score as it is; `raw_score` reads it back."""
    return Calibration((0.0, 1.0, 0.0, 0.0), max_distance, (), math.inf)


def raw_score(probability: float) -> float | None:
    """Return the score behind an uncalibrated verifier's probability; None if that is 0."""
    if probability <= 0:
        return None
    return math.log(probability) - math.log1p(-min(probability, 1 - 2**-53))
