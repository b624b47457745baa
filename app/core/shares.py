"""Confidence intervals of shares (proportions), and of the difference of two shares."""

import math
from dataclasses import dataclass

NORMAL_95 = 1.959963984540054
"""95 % of a normal distribution lies within this many standard deviations of its mean."""


def wilson(count: float, of: float, deviations: float = NORMAL_95) -> tuple[float, float]:
    """Return the low and high end of Wilson's interval for the share `count / of`.

    `deviations` is its width to either side, in standard deviations. Source: E. B. Wilson,
    "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
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


def difference(count: int, of: int, base: int, base_of: int) -> Difference | None:
    """Return how much the share `count / of` exceeds the base rate `base / base_of`.

    None if `of` or `base_of` is 0. The interval is by R. G. Newcombe, "Interval Estimation for the
    Difference Between Independent Proportions", 1998, method 10.
    """
    if not of or not base_of:
        return None
    share, rate = count / of, base / base_of
    (low, high), (base_low, base_high) = wilson(count, of), wilson(base, base_of)
    value = share - rate
    return Difference(
        value,
        value - math.hypot(share - low, base_high - rate),
        value + math.hypot(high - share, rate - base_low),
    )
