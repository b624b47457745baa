import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.calibration import Calibration, lengths_of

MEASURED = Calibration((0.5, 2.0, -3.0, 0.5), 0.4, ((0.01, 0.97), (0.02, 0.9), (0.05, 0.7)))
BRIEF = (4, 5)  # words

numbers = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("logit", "distance", "expected"),
    [
        (1.0, 1.2, 0.5),
        (0.0, 0.7, 0.268941),
        (0.0, 0.2, 0.622459),
        (0.0, 0.0, 0.622459),
        (4.0, 2.2, 0.998499),
        (900.0, 2.2, 0.998499),
        (-900.0, 2.2, 0.0),
    ],
)
def test_a_probability_is_logistic(logit: float, distance: float, expected: float) -> None:
    assert MEASURED.probability(logit, distance, BRIEF) == pytest.approx(expected, abs=1e-6)


@given(numbers, st.floats(0, 2))
def test_a_probability_is_one_whatever_is_told(logit: float, distance: float) -> None:
    assert 0 <= MEASURED.probability(logit, distance, BRIEF) <= 1


@pytest.mark.parametrize(
    ("share", "expected"), [(0.01, 0.97), (0.019, 0.97), (0.02, 0.9), (0.05, 0.7), (0.9, 0.7)]
)
def test_a_share_of_wrong_hits_has_a_threshold(share: float, expected: float) -> None:
    assert MEASURED.threshold(share) == expected


def test_a_share_that_was_never_kept_lets_nothing_pass() -> None:
    assert MEASURED.threshold(0.009) > 1


@given(st.floats(0, 1), st.floats(0, 1))
def test_fewer_wrong_hits_take_a_higher_probability(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert MEASURED.threshold(low) >= MEASURED.threshold(high)


@given(numbers, st.floats(0, 2))
def test_no_score_gives_more_than_the_highest_probability(score: float, distance: float) -> None:
    assert MEASURED.probability(score, distance, BRIEF) <= MEASURED.highest(distance, BRIEF)


@pytest.mark.parametrize(
    ("calibration", "expected"),
    [
        (MEASURED, 0.998499),
        (Calibration((0.0, -1.0, 0.0, 0.0), 0.4, ()), 1.0),
        (Calibration((0.0, 1.0, 0.0, 0.0), 0.4, (), math.inf), 1.0),
        (Calibration((0.0, 1.0, 0.0, 0.0), 0.4, (), 2.0, "probability"), 0.880797),
    ],
)
def test_the_highest_probability_is_that_of_the_highest_score(
    calibration: Calibration, expected: float
) -> None:
    assert calibration.highest(2.2, BRIEF) == pytest.approx(expected, abs=1e-6)


def test_the_longer_two_texts_are_the_less_likely_they_may_be_to_ask_the_same() -> None:
    wary = Calibration((0.5, 2.0, -3.0, 0.5, -0.4, 0.1), 0.4, ())
    brief, long = (wary.probability(2.0, 0.2, lengths) for lengths in (BRIEF, (40, 41)))
    assert brief > long


@pytest.mark.parametrize(
    ("one", "other", "lengths"),
    [("What is it?", "it", (1, 3)), ("a b", " a  b\n", (2, 2)), ("", "a " * 500, (0, 60))],
)
def test_lengths_are_those_of_the_shorter_and_of_the_longer_text(
    one: str, other: str, lengths: tuple[int, int]
) -> None:
    assert lengths_of(one, other) == lengths_of(other, one) == lengths
