import pytest

from app.core.feedback import Standing, standing_after


@pytest.mark.parametrize(
    ("is_disputed", "correct", "standing"),
    [
        (False, True, Standing.TRUSTED),
        (True, True, Standing.TRUSTED),
        (False, False, Standing.EXACT_ONLY),
        (True, False, Standing.REMOVED),
    ],
)
def test_a_wrong_answer_is_disputed_and_one_that_is_wrong_twice_goes(
    *, is_disputed: bool, correct: bool, standing: Standing
) -> None:
    assert standing_after(is_disputed=is_disputed, correct=correct) is standing
