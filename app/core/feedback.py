"""What becomes of an entry whose answer somebody has judged."""

from enum import StrEnum


class Standing(StrEnum):
    """How far an answer is trusted."""

    TRUSTED = "trusted"  # it answers as any other
    EXACT_ONLY = "exact_only"  # it answers the very same question only
    REMOVED = "removed"  # it answers nobody


def standing_after(*, is_disputed: bool, correct: bool) -> Standing:
    """Decide what becomes of an entry: a wrong one is disputed, and twice wrong it goes.

    One that is right is trusted again, however often it was called wrong before.
    """
    if correct:
        return Standing.TRUSTED
    return Standing.REMOVED if is_disputed else Standing.EXACT_ONLY
