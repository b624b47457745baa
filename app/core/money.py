"""Money: sums are whole billionths of a dollar, so additions are exact."""

A_DOLLAR = 1_000_000_000
"""The number of billionths in a dollar."""

MILLIONTHS = 6
"""The number of decimal places of a dollar amount that is shown to people."""


def dollars(nanodollars: float) -> float:
    """Return an amount of money in dollars, rounded to a millionth."""
    return round(nanodollars / A_DOLLAR, MILLIONTHS)
