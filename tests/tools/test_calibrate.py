"""Lines drawn on streams, and the probabilities below them."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.calibration import Calibration, log_odds, raw_score, uncalibrated
from app.tools.calibrate import (
    Asked,
    Calibrated,
    Line,
    Rated,
    Stream,
    calibrate,
    draw_lines,
    hits_needed,
)


def by_score(candidate: Rated) -> float:
    assert candidate.score is not None
    return candidate.score


def alone(score: float, same: bool, times: int = 1, domain: str = "") -> list[Asked]:
    """Questions that one stored question could answer each."""
    return [Asked([Rated(score, 0.2, same)], domain)] * times


MANY = [*alone(0.9, True, 600), *alone(0.8, False, 10), *alone(0.7, True, 100)]


def lines(stream: Stream, *rates: float) -> Sequence[Line]:
    return draw_lines([stream], by_score, rates=rates)


def test_a_line_keeps_its_share_by_the_upper_end_of_the_interval() -> None:
    careful, fair, bold = lines(MANY, 0.005, 0.02, 0.05)
    assert (careful.least, careful.right, careful.wrong) == (0.9, 600, 0)
    assert careful.highest == pytest.approx(0.004489, abs=1e-6)
    assert (fair.least, fair.wrong) == (0.9, 0)  # 10 of 710 may be 2.3 % as well
    assert (bold.least, bold.right, bold.wrong) == (0.7, 700, 10)
    assert bold.highest == pytest.approx(0.0234, abs=1e-4)


def test_what_would_add_nothing_but_wrong_hits_stays_below_the_line() -> None:
    (line,) = lines([*alone(0.9, True, 500), *alone(0.1, False, 5)], 0.1)
    assert (line.least, line.right, line.wrong) == (0.9, 500, 0)


def test_what_too_few_hits_cannot_show_has_no_line() -> None:
    assert hits_needed(0.01) == 268
    assert [lines(alone(0.9, True, n), 0.01)[0].least for n in (267, 268)] == [None, 0.9]
    assert lines([], 0.01) == [Line(0.01, None, 0, 0, 1.0)]


def test_a_question_that_hits_is_not_stored_and_answers_nobody() -> None:
    first, again = Asked([]), Asked([Rated(0.9, 0.1, True, at=0)])
    by_first = Asked([Rated(0.9, 0.1, True, at=0), Rated(0.95, 0.05, False, at=1)])
    (line,) = lines([first, again, by_first], 0.9)
    assert (line.least, line.right, line.wrong) == (0.9, 2, 0)
    missed = Asked([Rated(0.5, 0.1, True, at=0)])
    (line,) = draw_lines([[first, missed, by_first]], by_score, rates=[0.99])
    assert (line.least, line.right, line.wrong) == (0.5, 2, 0)  # below it, the second hits


@pytest.mark.parametrize(
    ("scores", "least", "right"),
    [
        ([0.6, 0.9], 0.9, 10),  # the nearest is refused, the next one passes
        ([0.8, 0.9], 0.9, 10),  # both pass, and the likelier one is right
        ([0.95, 0.9], None, 0),  # both pass, and the likelier one is wrong
        ([0.5, 0.6, 0.7, 0.9], None, 0),  # the fourth is not read
        ([0.5, 0.6, None, 0.9], 0.9, 10),  # what a guard refuses is not read
    ],
)
def test_the_likeliest_of_the_nearest_three_answers(
    scores: list[float | None], least: float | None, right: int
) -> None:
    asked = Asked([Rated(score, at / 10, score == 0.9) for at, score in enumerate(scores)])
    (line,) = lines([asked] * 10, 0.3)
    assert (line.least, line.right) == (least, right)


def test_a_domain_that_is_shown_to_have_more_raises_the_line_for_all() -> None:
    easy = alone(0.7, True, 10_000, "easy")
    hard = [*alone(0.9, True, 50, "hard"), *alone(0.7, False, 5, "hard")]
    (line,) = lines([*easy, *hard], 0.01)
    assert line.least is None or line.least > 0.7
    harmless = [*alone(0.9, True, 500, "hard"), *alone(0.7, False, 5, "hard")]
    (line,) = lines([*easy, *harmless], 0.01)
    assert line.least == 0.7


def test_a_line_is_tried_on_domains_that_had_no_part_in_it() -> None:
    clean = [asked for name in "abcd" for asked in alone(0.7, True, 100, name)]
    odd = [*alone(0.9, True, 200, "odd"), *alone(0.8, False, 9, "odd")]
    (line,) = lines([*clean, *odd], 0.05)
    assert (line.least, line.right, line.wrong) == (0.7, 600, 9)
    assert line.elsewhere == (600, 9)  # whoever is left out, the others draw the same line
    (line,) = lines([*clean, *odd], 0.02)
    assert (line.least, line.right, line.wrong) == (0.9, 200, 0)
    # The odd one keeps the line up. Without it that is 0.7; drawn by it, the others do not hit.
    assert line.elsewhere == (200, 9)
    (alone_,) = lines(alone(0.9, True, 100), 0.05)
    assert alone_.elsewhere is None


def test_shuffling_the_same_questions_again_makes_nothing_surer() -> None:
    once = lines(MANY, 0.005, 0.05)
    assert draw_lines([MANY, MANY], by_score, rates=[0.005, 0.05], repeats=2) == once
    assert draw_lines([MANY[:300]] * 9, by_score, rates=[0.005], repeats=9)[0].least is None


@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.booleans(), st.sampled_from(["a", "b"])), max_size=60)
)
def test_a_bolder_dial_never_draws_a_higher_line(told: list[tuple[float, bool, str]]) -> None:
    stream = [asked for score, same, domain in told for asked in alone(score, same, 9, domain)]
    drawn = [line.least for line in lines(stream, 0.05, 0.1, 0.3)]
    kept = [least for least in drawn if least is not None]
    assert kept == sorted(kept, reverse=True)
    assert drawn == [None] * (len(drawn) - len(kept)) + kept


def scored(low: float, high: float) -> Calibrated:
    """Calibrate a verifier that says `high` of what is the same and `low` of what is not."""
    spread = (high - low) / 10
    same = [asked for n in range(3) for asked in alone(high - n * spread, True, 300)]
    other = [asked for n in range(3) for asked in alone(low + n * spread, False, 300)]
    return calibrate([[*same, *other]], 0.5)


@pytest.mark.parametrize(
    ("low", "high", "scale"), [(-9.0, 9.0, "logit"), (0.02, 0.98, "probability")]
)
def test_logits_and_probabilities_become_probabilities(low: float, high: float, scale: str) -> None:
    made = scored(low, high)
    known = made.calibration
    assert known.scale == scale
    assert known.max_distance == 0.5
    assert known.probability(high, 0.2, (4, 5)) > 0.95
    assert known.probability(low, 0.2, (4, 5)) < 0.05
    assert made.reachable == 900
    assert [rate for rate, _ in known.thresholds] == [0.005, 0.01, 0.02, 0.05, 0.1]
    assert all(line.right == 900 and line.wrong == 0 for line in made.lines)
    assert known.probability(high - (high - low) / 5, 0.2, (4, 5)) == pytest.approx(
        known.threshold(0.01)
    )


def test_what_cannot_be_told_apart_is_never_promised() -> None:
    made = calibrate([[*alone(1.0, True, 500), *alone(1.0, False, 500)]], 0.5)
    assert made.calibration.probability(1.0, 0.2, (4, 5)) == pytest.approx(0.5, abs=0.01)
    assert made.calibration.thresholds == []
    assert made.calibration.threshold(0.1) > 1


def test_nothing_to_calibrate_on_serves_nothing() -> None:
    assert calibrate([], 0.5).calibration.threshold(0.5) > 1


@given(st.floats(-20, 20))
def test_what_an_uncalibrated_verifier_says_is_its_score(score: float) -> None:
    told = uncalibrated(0.5).probability(score, 0.3, (4, 5))
    assert raw_score(told) == pytest.approx(score, abs=1e-6)


def test_of_nothing_there_is_no_score() -> None:
    assert raw_score(0.0) is None
    assert math.isfinite(raw_score(1.0) or math.inf)


def test_a_score_that_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match="not a probability"):
        log_odds(1.5, "probability")
    assert Calibration((0, 1, 0, 0), 1, (), 9.0, "probability").probability(1.0, 0, (4, 5)) > 0.99
