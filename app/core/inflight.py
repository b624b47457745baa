"""How many bytes of bodies and replays are on their way through this process, and how many may be.

Up to `most`, answers are kept for those who join and for the store. From then on nothing more is
cached: what is large streams past the cache, at the pace of who reads it. At twice that, no request
is let in.
"""

import sys
from types import TracebackType
from typing import Self

SMALL = 65_536
"""Bytes that may always be held for one request: as many as lie in the buffers of its socket."""


class Inflight:
    """Counts what is on its way, over all connections."""

    def __init__(self, most: int = sys.maxsize) -> None:
        self._most = most
        self.held = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be kept."""
        return self.held >= self._most

    @property
    def is_overfull(self) -> bool:
        """Whether no request is to be let in."""
        return self.held >= 2 * self._most

    def has_room_for(self, size: int) -> bool:
        """Whether something of so many bytes may be held as a whole."""
        return size <= SMALL or not self.is_full


class Hold:
    """The bytes that are held for one purpose; all are let go of at the end of its context."""

    def __init__(self, inflight: Inflight) -> None:
        self.inflight = inflight
        self._held = 0

    def add(self, size: int) -> None:
        """Count so many bytes more."""
        self._held += size
        self.inflight.held += size

    def drop(self, size: int) -> None:
        """Count so many bytes less."""
        self.add(-size)

    def release(self) -> None:
        """Count none any more."""
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
