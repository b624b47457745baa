"""Confidence intervals of shares (proportions), and of the excess of one share over another."""

import math
from dataclasses import dataclass

NORMAL_95 = 1.959963984540054
"""The number of standard deviations around the mean that covers 95 % of a normal distribution."""
_COVERING = 2.2414027276049473  # for 97.5 %: at 95 %, intervals of rare events are too narrow
_HALVINGS = 30


def wilson(count: float, of: float, deviations: float = NORMAL_95) -> tuple[float, float]:
    """Return the low and the high end of Wilson's interval for the share `count / of`.

    `deviations` is the number of standard deviations to either side: 1.96 for a 95 % interval.
    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
    1927.
    """
    if not of:
        return 0.0, 1.0
    share, doubt = count / of, deviations * deviations / of
    middle = share + doubt / 2
    reach = math.sqrt(doubt * (share * (1 - share) + doubt / 4))
    low, high = (middle - reach) / (1 + doubt), (middle + reach) / (1 + doubt)
    # Rounding errors must not leave the share itself outside the interval.
    return max(0.0, min(low, share)), min(1.0, max(high, share))


@dataclass(frozen=True, slots=True)
class Difference:
    """How much greater one share is than another, from -1 to 1.

    `low` and `high` are the ends of a 95 % confidence interval.
    """

    value: float
    low: float
    high: float


def excess(
    count: int, of: int, base: int, base_of: int, deviations: float = _COVERING
) -> Difference | None:
    """Return the part of the share `count / of` that the base rate does not explain.

    The base rate is `base / base_of`. The share and the base rate are shares of wrong answers. The
    value returned, from 0 to 1, is computed as
    `1 - (1 - share) / (1 - base rate)`: W. S. Abbott, "A Method of Computing the Effectiveness of
    an Insecticide", 1925. The interval is computed from Wilson's intervals of the share and of the
    base rate: G. Y. Zou and A. Donner, "Construction of Confidence Limits About Effect Measures",
    2008. `deviations` is passed to `wilson`. By default, the interval contains the true value in at
    least 95 of 100 cases.

    Return None if `of` or `base_of` is 0, or if the base rate is 1.
    """
    if not of or base >= base_of:
        return None
    right, base_right = 1 - count / of, 1 - base / base_of
    least, most = wilson(of - count, of, deviations)
    base_least, base_most = wilson(base_of - base, base_of, deviations)
    ratio = right / base_right
    if right:
        up = ratio * math.exp(math.hypot(math.log(most / right), math.log(base_right / base_least)))
    else:
        up = most / base_least
    down = 0.0
    if least:
        down = ratio * math.exp(
            -math.hypot(math.log(right / least), math.log(base_most / base_right))
        )
    return Difference(*(min(1.0, max(0.0, 1 - x)) for x in (ratio, up, down)))


def least_share(count: int, of: int, doubt: float) -> float:
    """Return a lower bound of the true share, given `count` cases in a sample of `of`.

    If the true share were lower than the bound, the probability of such a high count would be at
    most `doubt`. This holds for small samples too: W. Hoeffding, "Probability Inequalities for Sums
    of Bounded Random Variables", 1963, theorem 1.
    """
    if not count:
        return 0.0
    share, enough = count / of, -math.log(doubt) / of
    low, high = 0.0, share
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _divergence(share, middle) > enough else (low, middle)
    return low


def most_share(count: int, of: int, doubt: float) -> float:
    """Return an upper bound of the true share. The parameters are those of `least_share`."""
    return 1 - least_share(of - count, of, doubt) if of else 1.0


def _divergence(share: float, other: float) -> float:
    """Return the relative entropy of two shares. `other` must be the lower share."""
    if other <= 0:
        return math.inf
    told = share * math.log(share / other)
    return told + (1 - share) * math.log((1 - share) / (1 - other)) if share < 1 else told
