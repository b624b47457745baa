"""Keeps an older answer from replacing a newer one in the store."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Writes:
    """For one key: how many upstream requests are running, and the latest one that was stored."""

    under_way: int = 0
    latest: int = 0


class WriteOrder:
    """Numbers the upstream requests in the order in which they are sent."""

    def __init__(self) -> None:
        self._writes: dict[str, _Writes] = {}
        self._last = 0

    @contextmanager
    def take(self, keys: Collection[str]) -> Iterator["WriteTicket"]:
        """Yield a ticket for a request that may store answers under `keys`.

        A context manager: the ticket is valid inside the `with` block.
        """
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
        """Return the number of the latest request whose answer was stored under a key, or 0."""
        return self._writes[key].latest

    def claim(self, key: str, number: int) -> bool:
        """Return whether a request's answer may be stored; if so, note it as the latest.

        False if a later request's answer was stored.
        """
        writes = self._writes[key]
        if number < writes.latest:
            return False
        writes.latest = number
        return True


@dataclass(frozen=True, slots=True)
class WriteTicket:
    """One upstream request and its number."""

    order: WriteOrder
    number: int

    def claim(self, key: str) -> bool:
        """Return whether this answer may be stored; if so, note it as the latest.

        False if a later request's answer was stored.
        """
        return self.order.claim(key, self.number)

    def latest_kept(self, key: str) -> int:
        """Return the number of the latest request whose answer was stored under a key, or 0."""
        return self.order.latest(key)
