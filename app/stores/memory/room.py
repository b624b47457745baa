"""A limit on the bytes that several collections of a store hold together."""

from typing import Protocol


class Sharing(Protocol):
    """A collection that shares a Room with other collections."""

    @property
    def idlest(self) -> float:
        """The number of the last use of the least recently used value (see `Room.count_use`).

        The number is infinity if there are no values.
        """

    def evict_idlest(self) -> None:
        """Evict the least recently used value of this collection."""


class Room:
    """A limit of `most` bytes for several collections together.

    If the collections hold more bytes, the least recently used values of all collections are
    evicted.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0
        self._sharing: list[Sharing] = []
        self._uses = 0

    def share(self, collection: Sharing) -> None:
        """Add a collection to those that share this limit."""
        self._sharing.append(collection)

    def count_use(self) -> int:
        """Count one more use of a value. Return the number of uses so far, this one included."""
        self._uses += 1
        return self._uses

    def make(self) -> None:
        """Evict values until the remaining values take at most `most` bytes."""
        while self.used > self.most:
            min(self._sharing, key=lambda collection: collection.idlest).evict_idlest()
