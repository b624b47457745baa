"""A mapping of limited size whose values expire. It evicts the least recently used values."""

import heapq
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.core.models import Clock
from app.stores.memory.order import Order
from app.stores.memory.room import Room

T = TypeVar("T")

_EXPIRED_AT_ONCE = 200  # values that one call removes, so that no call takes long


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T
    size: int
    expires: float
    place: int
    used: int


class Expiring(Generic[T]):
    """Keeps up to `most` values, within the byte limit of `room`. Times are in seconds since 1970.

    `on_remove(key, value)` is called for every value that is removed or replaced, except by
    `clear`. `on_evict(key, value, reason)` is called for each value that this class removes by
    itself, and for each value that `put` does not keep. The reason is `expired`, `lru` (there were
    too many values) or `bytes` (the values took too many bytes).
    """

    def __init__(
        self,
        most: int,
        clock: Clock,
        on_evict: Callable[[str, T, str], None],
        on_remove: Callable[[str, T], None] = lambda _key, _value: None,
        *,
        room: Room,
    ) -> None:
        self._most = most
        self._room = room
        room.share(self)
        self._clock = clock
        self._on_evict = on_evict
        self._on_remove = on_remove
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()  # least recently used first
        self._due: dict[int, dict[str, None]] = {}  # keys by the second in which they expire
        self._seconds: list[int] = []  # a heap of those seconds
        self._order = Order()

    def peek(self, key: str) -> T | None:
        """Return the value of a key, or None if the key is absent or its value has expired.

        The call does not count as a use of the value.
        """
        entry = self._entries.get(key)
        return None if entry is None or entry.expires <= self._clock() else entry.value

    def use(self, key: str) -> T | None:
        """Return the value of a key, or None if the key is absent or its value has expired.

        The call counts as a use of the value.
        """
        if (value := self.peek(key)) is not None:
            self._entries.move_to_end(key)
            self._entries[key].used = self._room.count_use()
        return value

    def amend(self, key: str, value: T, grown: int) -> None:
        """Replace the value of an existing key. The new value is `grown` bytes larger.

        The key's expiry and its place in the order of use do not change.
        """
        entry = self._entries[key]
        entry.value = value
        entry.size += grown
        self._room.used += grown
        self._room.make()

    def put(self, key: str, value: T, expires: float, size: int) -> bool:
        """Keep a value of `size` bytes until `expires`, in place of any older value of `key`.

        If there are now too many values or bytes, the least recently used values are
        evicted. If `size` alone exceeds the byte limit, the value is not kept. Return False in
        that case, else True.
        """
        self.remove(key)
        if size > self._room.most:
            self._on_evict(key, value, "bytes")
            return False
        used = self._room.count_use()
        self._entries[key] = _Entry(value, size, expires, self._order.append(key), used)
        self._room.used += size
        second = math.ceil(expires)
        if second not in self._due:
            self._due[second] = {}
            heapq.heappush(self._seconds, second)
        self._due[second][key] = None
        while len(self._entries) > self._most:
            self._evict(next(iter(self._entries)), "lru")
        self._room.make()
        return True

    def remove(self, key: str) -> bool:
        """Remove the value of a key. Return whether there was one."""
        if (entry := self._entries.pop(key, None)) is None:
            return False
        self._due[math.ceil(entry.expires)].pop(key, None)
        self._order.remove(entry.place)
        self._room.used -= entry.size
        self._on_remove(key, entry.value)
        return True

    def _evict(self, key: str, reason: str) -> None:
        value = self._entries[key].value
        self.remove(key)
        self._on_evict(key, value, reason)

    @property
    def idlest(self) -> float:
        """The number of the last use of the least recently used value (see `Room.count_use`).

        The number is infinity if there are no values.
        """
        oldest = next(iter(self._entries.values()), None)
        return math.inf if oldest is None else oldest.used

    def evict_idlest(self) -> None:
        """Evict the least recently used value, because the byte limit of `room` is exceeded."""
        self._evict(next(iter(self._entries)), "bytes")

    def clear(self) -> int:
        """Remove all values without calling `on_remove`.

        Return the number of removed values that had not expired.
        """
        alive = len(self)
        self._room.used -= sum(entry.size for entry in self._entries.values())
        self._entries.clear()
        self._due.clear()
        self._seconds.clear()
        self._order.clear()
        return alive

    def page(self, cursor: str, limit: int) -> tuple[list[T], str]:
        """Return up to `limit` values, oldest first, and the cursor for the next page.

        `cursor` is empty for the first page. The returned cursor is empty after the last page.
        """
        if cursor and not (cursor.isascii() and cursor.isdecimal()):
            return [], ""
        found = self._order.after(int(cursor or 0), limit)
        values = [value for _, key in found if (value := self.peek(key)) is not None]
        return values, str(found[-1][0]) if len(found) == limit else ""

    def overdue(self) -> Iterator[T]:
        """Yield the values that have expired but have not been removed yet."""
        now = self._clock()
        for second in self._seconds:
            for key in self._due[second] if second <= math.ceil(now) else ():
                entry = self._entries[key]
                if entry.expires <= now:  # within the current second, some have not expired yet
                    yield entry.value

    def __len__(self) -> int:
        return len(self._entries) - sum(1 for _ in self.overdue())

    def expire(self) -> None:
        """Remove up to 200 expired values."""
        now = self._clock()
        room = _EXPIRED_AT_ONCE
        while room and self._seconds and self._seconds[0] <= now:
            due = self._due[self._seconds[0]]
            while due and room:
                key, _ = due.popitem()
                self._evict(key, "expired")
                room -= 1
            if not due:
                del self._due[heapq.heappop(self._seconds)]
