"""How far an entry is trusted after someone has reported its answer as right or wrong."""

from enum import StrEnum


class Standing(StrEnum):
    """How far a stored answer is trusted."""

    TRUSTED = "trusted"  # it may be served by exact match and by meaning
    EXACT_ONLY = "exact_only"  # it may be served by exact match only
    REMOVED = "removed"  # it is deleted


def standing_after(*, is_disputed: bool, correct: bool) -> Standing:
    """Return how far an entry is trusted after a report; `is_disputed`: one said wrong before.

    The first report of a wrong answer limits it to exact matches; the second removes the entry. A
    report of a correct answer restores full trust, whatever was reported before.
    """
    if correct:
        return Standing.TRUSTED
    return Standing.REMOVED if is_disputed else Standing.EXACT_ONLY
