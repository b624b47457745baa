"""Which candidates may answer by meaning at a level of caution: never more than at level 0."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rules.caution import EXACT_ONLY, Caution

DISTANCES = st.floats(0, 2)
PROBABILITIES = st.none() | st.floats(0, 1)


@given(DISTANCES, PROBABILITIES, st.floats(0, 0.5), st.none() | st.floats(0, 1))
def test_each_level_serves_no_more_than_the_one_below(
    distance: float, probability: float | None, most: float, least: float | None
) -> None:
    serves = [
        Caution(level, most, least).serves(distance, probability) for level in range(EXACT_ONLY + 1)
    ]
    assert serves[0]
    assert serves == sorted(serves, reverse=True)
    assert not serves[EXACT_ONLY]


@pytest.mark.parametrize(
    ("level", "distance", "probability", "serves"),
    [
        (1, 0.07, None, True),
        (1, 0.08, None, False),
        (2, 0.03, None, True),
        (1, 0.14, 0.95, True),
        (1, 0.01, 0.94, False),
        (2, 0.14, 0.975, True),
    ],
)
def test_a_level_halves_the_doubt(
    level: int, distance: float, probability: float | None, serves: bool
) -> None:
    least = None if probability is None else 0.9
    assert Caution(level, 0.15, least).serves(distance, probability) is serves
