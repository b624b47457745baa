"""Counts and limits the bytes of bodies and answers that this process holds in memory.

`most` is the parameter of Inflight. While fewer than `most` bytes are held, answers are kept for
collapsed requests and for the store. If `most` bytes or more are held, no more answers are kept,
and large bodies are passed on in pieces. If twice `most` bytes or more are held, new requests are
refused.
"""

import sys
from types import TracebackType
from typing import Self

SMALL = 65_536
"""The bytes that may always be held for one request: about as many as a socket's buffers hold."""


class Inflight:
    """Counts the bytes that are held for all connections together (`held`).

    If `most` bytes or more are held, no more answers are kept.
    """

    def __init__(self, most: int = sys.maxsize) -> None:
        self._most = most
        self.held = 0

    @property
    def is_full(self) -> bool:
        """Whether no more answers may be kept for sharing or storing."""
        return self.held >= self._most

    @property
    def is_overfull(self) -> bool:
        """Whether new requests must be refused."""
        return self.held >= 2 * self._most

    def has_room_for(self, size: int) -> bool:
        """Whether a body of `size` bytes may be held as a whole.

        The result is always True if `size` is at most SMALL.
        """
        return size <= SMALL or not self.is_full


class Hold:
    """Counts the bytes held for one purpose.

    At the end of a `with` block, all these bytes are released.
    """

    def __init__(self, inflight: Inflight) -> None:
        self.inflight = inflight
        self._held = 0

    def add(self, size: int) -> None:
        """Count `size` more bytes as held."""
        self._held += size
        self.inflight.held += size

    def drop(self, size: int) -> None:
        """Count `size` bytes as released."""
        self.add(-size)

    def release(self) -> None:
        """Count all bytes held for this purpose as released."""
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
