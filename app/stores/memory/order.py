"""Keys in the order in which they were added, to be read in pages.

Keys may be added and removed between two pages.
"""

from bisect import bisect_right

_WORTH_TIDYING = 1024  # places


class Order:
    """Keys in the order in which they were added. Each key has a number, its place.

    A key that is added later has a greater place, and no place is used twice.
    """

    def __init__(self) -> None:
        self._places: list[int] = []
        self._keys: list[str | None] = []  # None for a removed key
        self._alive = 0
        self._next = 1

    def append(self, key: str) -> int:
        """Add a key at the end, and return its place."""
        place = self._next
        self._next += 1
        self._places.append(place)
        self._keys.append(key)
        self._alive += 1
        return place

    def remove(self, place: int) -> None:
        """Remove the key at a place."""
        self._keys[bisect_right(self._places, place) - 1] = None
        self._alive -= 1
        if len(self._keys) > max(_WORTH_TIDYING, 2 * self._alive):
            kept = [item for item in zip(self._places, self._keys, strict=True) if item[1]]
            self._places = [place for place, _ in kept]
            self._keys = [key for _, key in kept]

    def clear(self) -> None:
        """Remove all keys."""
        self._places.clear()
        self._keys.clear()
        self._alive = 0

    def after(self, place: int, limit: int) -> list[tuple[int, str]]:
        """Return up to `limit` pairs (place, key) that come after `place`, in order.

        If `place` is 0, the list begins with the first key.
        """
        found: list[tuple[int, str]] = []
        for index in range(bisect_right(self._places, place), len(self._places)):
            if (key := self._keys[index]) is not None:
                found.append((self._places[index], key))
                if len(found) == limit:
                    break
        return found
