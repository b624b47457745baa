"""Epochs: tokens by which a purge also defeats answers that are still on their way.

An epoch is an era, and after a purge of some entries a turn of it: `era` or `era.turn`. A purge of
everything begins a new era: what was stored in another one is dead. A purge of some entries begins
a new turn: what was asked for in another turn is not stored, but what is stored lives on.
"""

_TURN = "."


def era_of(epoch: str) -> str:
    """Return the era of an epoch."""
    return epoch.partition(_TURN)[0]


def next_turn(epoch: str, turn: str) -> str:
    """Return the epoch that follows in the same era; `turn` has never been used before."""
    return f"{era_of(epoch)}{_TURN}{turn}"


def is_dead(epoch: str, present: str) -> bool:
    """Whether what was stored in an epoch has been purged with everything else."""
    return era_of(epoch) != era_of(present) or not present
