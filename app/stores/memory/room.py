"""A limit on the bytes that several collections of a store hold together."""

from typing import Protocol


class Sharing(Protocol):
    """A collection that shares a Room with others."""

    @property
    def idlest(self) -> float:
        """The number, from `Room.count_use`, of the least recent use; infinite without values."""

    def evict_idlest(self) -> None:
        """Evict its least recently used value."""


class Room:
    """Up to `most` bytes for several collections together.

    If there are more, the values used least recently are evicted, whichever collection has them.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0
        self._sharing: list[Sharing] = []
        self._uses = 0

    def share(self, collection: Sharing) -> None:
        """Add a collection that shares this room."""
        self._sharing.append(collection)

    def count_use(self) -> int:
        """Count a use of a value; return the number of this use: each is greater than the last."""
        self._uses += 1
        return self._uses

    def make(self) -> None:
        """Evict values until the rest takes at most `most` bytes."""
        while self.used > self.most:
            min(self._sharing, key=lambda collection: collection.idlest).evict_idlest()
