"""Confidence intervals of shares (proportions), and of how far one is above a base rate."""

import math
from dataclasses import dataclass

NORMAL_95 = 1.959963984540054
"""95 % of a normal distribution lies within this many standard deviations of its mean."""
_COVERING = 2.2414027276049473  # for 97.5 %: at 95 %, intervals of rare events are too narrow
_HALVINGS = 30


def wilson(count: float, of: float, deviations: float = NORMAL_95) -> tuple[float, float]:
    """Return the low and high end of Wilson's interval for the share `count / of`.

    `deviations` is the interval's width to either side, in standard deviations. Source: E. B.
    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
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
    """How much greater one share is than another, from -1 to 1, and its 95 % interval."""

    value: float
    low: float
    high: float


def excess(
    count: int, of: int, base: int, base_of: int, deviations: float = _COVERING
) -> Difference | None:
    """Return the share `count / of`, less what the base rate `base / base_of` explains.

    Both are shares of wrong answers. The result is `1 - (1 - share) / (1 - rate)`, from 0 to 1: W.
    S. Abbott, "A Method of Computing the Effectiveness of an Insecticide", 1925. Its interval is
    made from Wilson's for both shares: G. Y. Zou and A. Donner, "Construction of Confidence Limits
    About Effect Measures", 2008. By default the interval contains the true value in at least 95 of
    100 cases. None if `of` is 0 or the base rate is 1 or unknown.
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
    """Return a lower bound of the true share, given the count.

    If the true share were lower, the probability of such a high count would be at most `doubt`,
    however small `of` is: W. Hoeffding, "Probability Inequalities for Sums of Bounded Random
    Variables", 1963, theorem 1.
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
    """Return an upper bound of the true share, given the count; see `least_share`."""
    return 1 - least_share(of - count, of, doubt) if of else 1.0


def _divergence(share: float, other: float) -> float:
    """Return the relative entropy of two shares; `other` must be the lower one."""
    if other <= 0:
        return math.inf
    told = share * math.log(share / other)
    return told + (1 - share) * math.log((1 - share) / (1 - other)) if share < 1 else told
