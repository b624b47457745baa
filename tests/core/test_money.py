"""Amounts of money."""

import pytest

from app.core.money import dollars


@pytest.mark.parametrize(
    ("nanodollars", "shown"),
    [(0, 0.0), (1_000_000_000, 1.0), (1_234_567_890, 1.234568), (499, 0.0), (-2_500_000, -0.0025)],
)
def test_an_amount_is_shown_to_a_millionth_of_a_dollar(nanodollars: int, shown: float) -> None:
    assert dollars(nanodollars) == shown
