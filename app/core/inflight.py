"""Counts the bytes of bodies and replays that this process holds, and limits them.

Up to `most` bytes, answers are kept for collapsed requests and for the store. Beyond this
limit, nothing more is cached: large bodies are only passed on, as fast as they are read. Beyond
twice `most`, new requests are refused.
"""

import sys
from types import TracebackType
from typing import Self

SMALL = 65_536
"""Bytes that may always be held for one request: about as many as its socket's buffers hold."""


class Inflight:
    """The number of bytes held for all connections together (`held`)."""

    def __init__(self, most: int = sys.maxsize) -> None:
        self._most = most
        self.held = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be kept for sharing or storing."""
        return self.held >= self._most

    @property
    def is_overfull(self) -> bool:
        """Whether new requests must be refused."""
        return self.held >= 2 * self._most

    def has_room_for(self, size: int) -> bool:
        """Whether a body of `size` bytes may be held as a whole; always True up to SMALL."""
        return size <= SMALL or not self.is_full


class Hold:
    """The bytes held for one purpose, as a context manager that releases them at the end."""

    def __init__(self, inflight: Inflight) -> None:
        self.inflight = inflight
        self._held = 0

    def add(self, size: int) -> None:
        """Count this many more bytes as held."""
        self._held += size
        self.inflight.held += size

    def drop(self, size: int) -> None:
        """Count this many bytes as released."""
        self.add(-size)

    def release(self) -> None:
        """Count all bytes as released."""
        self.drop(self._held)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
