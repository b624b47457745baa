"""Turns a verifier's scores into probabilities, and finds the least probability to serve."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Literal

_NEVER = 2.0  # a threshold that no probability reaches
_SURE = 4.0  # log-odds; above them the scores of the network that ships are not reliable
_LONGEST = 60  # words; longer texts count as if they had so many
_LEAST = 1e-6  # probabilities are raised to at least this before their log-odds are taken

Scale = Literal["logit", "probability"]
"""The unit of a verifier's scores: log-odds of any size, or a probability from 0 to 1."""

FEATURES = 6
"""How many numbers `features` returns."""

Lengths = tuple[int, int]
"""The number of words in the shorter of two texts, and the number in the longer one."""


def lengths_of(one: str, other: str) -> Lengths:
    """Return the lengths of two texts, in any order. More than 60 words count as 60."""
    shorter, longer = sorted(min(len(text.split()), _LONGEST) for text in (one, other))
    return shorter, longer


def features(
    logit: float, distance: float, lengths: Lengths, max_distance: float, sure: float
) -> tuple[float, ...]:
    """Return six numbers that describe a pair of questions.

    They are 1, the log-odds, the part of the cosine distance beyond half of `max_distance`, the
    product of both, and both lengths in tens of words. Nearer pairs are not taken for likelier:
    near misses are as near as the closest rewordings. The more words two texts have, the more can
    differ that the verifier overlooks. `logit` is the verifier's log-odds; a value above `sure` is
    replaced by `sure`.
    """
    told = min(logit, sure)
    beyond = max(0.0, distance - max_distance / 2)
    shorter, longer = lengths
    return 1.0, told, beyond, told * beyond, shorter / 10, longer / 10


def log_odds(score: float, scale: Scale) -> float:
    """Return a verifier's score as log-odds. `scale` is the unit of `score`.

    Raises ValueError if `scale` is `probability` and `score` is not between 0 and 1.
    """
    if scale == "logit":
        return score
    if not 0 <= score <= 1:
        raise ValueError("not a probability")
    share = min(max(score, _LEAST), 1 - _LEAST)
    return math.log(share / (1 - share))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Figures measured with one embedder, on questions that the verifier was not trained on.

    `weights`: the weights of a logistic regression, one for each number that `features` returns.
    Missing weights count as 0.
    `max_distance`: the greatest cosine distance at which the verifier is asked about two questions.
    `thresholds`: pairs (error rate, probability), sorted by error rate. If only answers of at least
    this probability are served, the share of wrong hits is at most the error rate.
    `sure`: the greatest log-odds. Greater log-odds are lowered to this value.
    `scale`: the unit of the verifier's scores.
    """

    weights: Sequence[float]
    max_distance: float
    thresholds: Sequence[tuple[float, float]]
    sure: float = _SURE
    scale: Scale = "logit"

    def probability(self, score: float, distance: float, lengths: Lengths) -> float:
        """Return the probability, 0 to 1, that one answer serves two questions.

        `score` is the verifier's score of the two questions, `distance` their cosine distance.
        Raises ValueError if `scale` is `probability` and `score` is not between 0 and 1.
        """
        return self._probability(log_odds(score, self.scale), distance, lengths)

    def highest(self, distance: float, lengths: Lengths) -> float:
        """Return the highest possible probability of two questions, whatever the verifier's score.

        This is the probability at the log-odds `sure`. The result is 1 instead if `sure` is
        infinite, or if greater log-odds give lower probabilities.
        """
        if not math.isfinite(self.sure):
            return 1.0
        highest = self._probability(self.sure, distance, lengths)
        lower = self._probability(self.sure - 1, distance, lengths)
        return highest if highest >= lower else 1.0

    def _probability(self, told: float, distance: float, lengths: Lengths) -> float:
        used = features(told, distance, lengths, self.max_distance, self.sure)
        return 0.5 + 0.5 * math.tanh(sum(map(mul, self.weights, used)) / 2)

    def threshold(self, max_error_rate: float) -> float:
        """Return the least probability at which a hit may be served.

        `max_error_rate` is the share of hits that may be wrong. If `max_error_rate` is lower than
        every measured error rate, the result is above 1, so no hit is served.
        """
        at = bisect_right([share for share, _ in self.thresholds], max_error_rate)
        return self.thresholds[at - 1][1] if at else _NEVER


def uncalibrated(max_distance: float) -> Calibration:
    """Return a calibration that takes a score as the log-odds of the probability.

    Distance and lengths change nothing, so `raw_score` can turn the probability back into it.
    """
    return Calibration((0.0, 1.0), max_distance, (), math.inf)


def raw_score(probability: float) -> float | None:
    """Turn a probability back into the score from which it was computed.

    The probability must come from the calibration that `uncalibrated` returns. Return None if
    `probability` is 0.
    """
    if probability <= 0:
        return None
    return math.log(probability) - math.log1p(-min(probability, 1 - 2**-53))
