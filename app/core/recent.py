"""A least-recently-used cache of computed results, with a limited number of values."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Keeps up to `most` values and drops the least recently used.

    Response times must not reveal to one caller what another caller has asked. So if a value was
    computed from a caller's text, its key contains that caller's partition or is derived from that
    partition. Other callers cannot read the value. They can only cause its eviction, after which
    the value is computed again.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()  # least recently used first

    def get(self, key: K) -> V | None:
        """Return the value of a key, or None if the key has no value."""
        if (value := self._values.get(key)) is not None:
            self._values.move_to_end(key)
        return value

    def forget(self, key: K) -> None:
        """Remove the value of a key, if there is one."""
        self._values.pop(key, None)

    def forget_if(self, is_unwanted: Callable[[V], bool]) -> None:
        """Remove all values for which `is_unwanted` returns True."""
        for key in [key for key, value in self._values.items() if is_unwanted(value)]:
            del self._values[key]

    def values(self) -> list[V]:
        """Return all values, the least recently used first."""
        return list(self._values.values())

    def clear(self) -> None:
        """Remove all values."""
        self._values.clear()

    def keep(self, key: K, value: V) -> None:
        """Add or replace the value of a key. A full cache drops its least recently used value."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
