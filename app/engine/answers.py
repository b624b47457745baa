"""The protocol of answers that are still arriving."""

from collections.abc import AsyncIterator
from typing import Protocol

from app.core.cache_status import Head, Replay


class PendingAnswer(Protocol):
    """An answer that is still arriving.

    `head` waits for the answer's status and headers. Async iteration yields the body.
    """

    async def head(self) -> Head:
        """Wait for the head and return it."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's pieces as they arrive.

        Raises UpstreamInterrupted if the body cannot be read to its end.
        """

    async def aclose(self) -> None:
        """Stop reading and release the connection. Further calls have no effect."""


async def pieces_of(replay: Replay) -> AsyncIterator[bytes]:
    """Yield the whole body of `replay` as a single piece."""
    yield replay.body
