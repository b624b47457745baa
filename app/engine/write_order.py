"""Prevents an older answer from replacing a newer answer in the store."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Writes:
    """The upstream requests for one key.

    `under_way`: the number of requests that are running.
    `latest`: the number of the latest request whose answer was stored; 0 if no answer was stored.
    """

    under_way: int = 0
    latest: int = 0


class WriteOrder:
    """Numbers upstream requests in the order in which the requests are sent."""

    def __init__(self) -> None:
        self._writes: dict[str, _Writes] = {}
        self._last = 0

    @contextmanager
    def take(self, keys: Collection[str]) -> Iterator["WriteTicket"]:
        """Return a context manager for an upstream request whose answer may be stored under `keys`.

        The `with` statement provides a ticket, which is valid inside the `with` block.
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
        """Return the number of the latest request with an answer stored under `key`; 0 if none."""
        return self._writes[key].latest

    def claim(self, key: str, number: int) -> bool:
        """Return whether the answer to the request `number` may be stored under a key.

        Return False if the answer to a later request was stored. Otherwise, record that the answer
        to this request is the latest one, and return True.
        """
        writes = self._writes[key]
        if number < writes.latest:
            return False
        writes.latest = number
        return True


@dataclass(frozen=True, slots=True)
class WriteTicket:
    """The number of one upstream request, and the WriteOrder that gave it."""

    order: WriteOrder
    number: int

    def claim(self, key: str) -> bool:
        """Return whether the answer to this request may be stored under a key.

        Return False if the answer to a later request was stored. Otherwise, record that the answer
        to this request is the latest one, and return True.
        """
        return self.order.claim(key, self.number)

    def latest_kept(self, key: str) -> int:
        """Return the number of the latest request with an answer stored under `key`; 0 if none."""
        return self.order.latest(key)
