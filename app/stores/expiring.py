"""Values by key, each until its time is up; the least recently used give way."""

import heapq
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.models import Clock

T = TypeVar("T")

_EXPIRED_AT_ONCE = 200  # values that one call removes, so that no call takes long


@dataclass(slots=True)
class _Entry(Generic[T]):
    value: T
    expires: float


class Expiring(Generic[T]):
    """Keeps up to `most` values. Times are in seconds since the epoch.

    `on_remove` is told the key of whatever leaves, replaced values included; `on_evict` is told
    its key and why (`expired`, `lru`) when it leaves by itself.
    """

    def __init__(
        self,
        most: int,
        clock: Clock,
        on_evict: Callable[[str, str], None],
        on_remove: Callable[[str, T], None] = lambda _key, _value: None,
    ) -> None:
        self._most = most
        self._clock = clock
        self._on_evict = on_evict
        self._on_remove = on_remove
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()  # least recently used first
        self._due: dict[int, dict[str, None]] = {}  # keys by the second in which they expire
        self._seconds: list[int] = []  # a heap of those seconds

    def peek(self, key: str) -> T | None:
        """Give the value of a key, or None; it does not count as used."""
        entry = self._entries.get(key)
        return None if entry is None or entry.expires <= self._clock() else entry.value

    def use(self, key: str) -> T | None:
        """Give the value of a key, or None; it counts as used."""
        if (value := self.peek(key)) is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: str, value: T, expires: float) -> None:
        """Keep a value in place of an older one; make room for it if need be."""
        self.remove(key)
        self._entries[key] = _Entry(value, expires)
        second = math.ceil(expires)
        if second not in self._due:
            self._due[second] = {}
            heapq.heappush(self._seconds, second)
        self._due[second][key] = None
        while len(self._entries) > self._most:
            oldest = next(iter(self._entries))
            self.remove(oldest)
            self._on_evict(oldest, "lru")

    def remove(self, key: str) -> bool:
        """Remove a value; tell whether there was one."""
        if (entry := self._entries.pop(key, None)) is None:
            return False
        self._due[math.ceil(entry.expires)].pop(key, None)
        self._on_remove(key, entry.value)
        return True

    def clear(self) -> int:
        """Remove everything; tell how many values were alive."""
        alive = len(self)
        for key in list(self._entries):
            self.remove(key)
        self._due.clear()
        self._seconds.clear()
        return alive

    def alive(self) -> Iterator[tuple[str, T]]:
        """Give the keys and values whose time is not up."""
        now = self._clock()
        return ((key, e.value) for key, e in self._entries.items() if e.expires > now)

    def __len__(self) -> int:
        return sum(1 for _ in self.alive())

    def expire(self) -> None:
        """Remove some of what has expired."""
        now = self._clock()
        room = _EXPIRED_AT_ONCE
        while room and self._seconds and self._seconds[0] <= now:
            due = self._due[self._seconds[0]]
            while due and room:
                key, _ = due.popitem()
                self.remove(key)
                self._on_evict(key, "expired")
                room -= 1
            if not due:
                del self._due[heapq.heappop(self._seconds)]
