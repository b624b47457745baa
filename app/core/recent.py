"""Results that are remembered for a while, in bounded number, so as not to compute them again."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Up to `most` values; the least recently used give way.

    A caller must not learn by speed what others ask, so a key names the partition that asks, or is
    made of it. Others can only push a value out, which costs time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[K, V] = OrderedDict()  # least recently used first

    def get(self, key: K) -> V | None:
        """Return a value, or None if it is not known."""
        if (value := self._values.get(key)) is not None:
            self._values.move_to_end(key)
        return value

    def forget(self, key: K) -> None:
        """Forget a value, if it is known."""
        self._values.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()

    def keep(self, key: K, value: V) -> None:
        """Remember a value."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._most:
            self._values.popitem(last=False)
