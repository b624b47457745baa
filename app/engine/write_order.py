"""In what order answers may be stored: never an older one in place of a newer one."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Writes:
    """How many requests for one key are under way, and the latest whose answer was stored."""

    under_way: int = 0
    latest: int = 0


class WriteOrder:
    """Numbers the requests that go upstream, by the keys of what they ask for."""

    def __init__(self) -> None:
        self._writes: dict[str, _Writes] = {}
        self._last = 0

    @contextmanager
    def take(self, keys: Collection[str]) -> Iterator["WriteTicket"]:
        """Take a number for a request; it is forgotten with the end of the block."""
        self._last += 1
        keys = set(keys)
        for key in keys:
            self._writes.setdefault(key, _Writes()).under_way += 1
        try:
            yield WriteTicket(self, self._last)
        finally:
            for key in keys:
                writes = self._writes[key]
                writes.under_way -= 1
                if not writes.under_way:
                    del self._writes[key]

    def latest(self, key: str) -> int:
        """Return the number of the latest request whose answer was stored; 0 if there is none."""
        return self._writes[key].latest

    def claim(self, key: str, number: int) -> bool:
        """Note that the answer of a request is stored; False if that of a later one was."""
        writes = self._writes[key]
        if number < writes.latest:
            return False
        writes.latest = number
        return True


@dataclass(frozen=True, slots=True)
class WriteTicket:
    """One request on its way upstream."""

    order: WriteOrder
    number: int

    def claim(self, key: str) -> bool:
        """Note that this request's answer is stored; False, and nothing, if a later one's was."""
        return self.order.claim(key, self.number)

    def latest_kept(self, key: str) -> int:
        """Return the number of the latest request whose answer was stored meanwhile; 0: none."""
        return self.order.latest(key)
