"""Epochs: each purge replaces the epoch in the store, so that older answers are recognised.

An epoch is a text of the form `era` or `era.turn`. A purge of everything begins a new era: entries
stored in an older era are no longer served. A purge of some entries begins a new turn of the same
era: answers requested in an older turn are not stored, but entries already stored stay.
"""

_TURN = "."


def era_of(epoch: str) -> str:
    """Return the era of an epoch: the part before the turn, or the whole epoch without a turn."""
    return epoch.partition(_TURN)[0]


def next_turn(epoch: str, turn: str) -> str:
    """Return an epoch of the same era with a new turn; `turn` must never have been used before."""
    return f"{era_of(epoch)}{_TURN}{turn}"


def is_dead(epoch: str, present: str) -> bool:
    """Whether the era of `epoch` has ended, so that entries stored in this era are purged.

    `present` is the current epoch. If `present` is empty, the result is True.
    """
    return era_of(epoch) != era_of(present) or not present
