"""How many bytes a store may hold in all, and who gives way where that is too little."""

from typing import Protocol


class Sharing(Protocol):
    """One of several collections that share the room."""

    @property
    def idlest(self) -> float:
        """When its least recently used value was used, as the room counts; infinite if empty."""

    def evict_idlest(self) -> None:
        """Let go of that value, for want of room."""


class Room:
    """Up to `most` bytes for several collections together.

    Over all of them, what was used least recently gives way.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0
        self._sharing: list[Sharing] = []
        self._uses = 0

    def share(self, collection: Sharing) -> None:
        """Let one more collection take its room here."""
        self._sharing.append(collection)

    def count_use(self) -> int:
        """Return a number that is greater than all before: the time of a use."""
        self._uses += 1
        return self._uses

    def make(self) -> None:
        """Let values go until the others are within bounds."""
        while self.used > self.most:
            min(self._sharing, key=lambda collection: collection.idlest).evict_idlest()
