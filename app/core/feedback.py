"""How far an entry is trusted after someone has reported its answer as right or wrong."""

from enum import StrEnum


class Standing(StrEnum):
    """How far a stored answer is trusted."""

    TRUSTED = "trusted"  # it may be served by exact match and by meaning
    EXACT_ONLY = "exact_only"  # it may be served by exact match only
    REMOVED = "removed"  # it is deleted


def standing_after(*, is_disputed: bool, correct: bool) -> Standing:
    """Return how far an entry is trusted after a report that its answer is right or wrong.

    `is_disputed`: an earlier report said that the answer is wrong.
    `correct`: this report says that the answer is right.

    The first report of a wrong answer limits the entry to exact matches; the second removes it. A
    report of a right answer always restores full trust.
    """
    if correct:
        return Standing.TRUSTED
    return Standing.REMOVED if is_disputed else Standing.EXACT_ONLY
