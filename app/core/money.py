"""Money: sums are kept in billionths of a dollar, so that adding them loses nothing."""

A_DOLLAR = 1_000_000_000
"""A dollar in billionths."""

MILLIONTHS = 6
"""The digits of an amount of dollars that is shown."""


def dollars(nanodollars: float) -> float:
    """Return an amount to show, in dollars, rounded to a millionth."""
    return round(nanodollars / A_DOLLAR, MILLIONTHS)
