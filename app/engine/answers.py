"""Answers on their way to whoever asked."""

from collections.abc import AsyncIterator
from typing import Protocol

from app.core.cache_status import Head, Replay


class PendingAnswer(Protocol):
    """An answer whose head has to be waited for; async iteration gives its body."""

    async def head(self) -> Head:
        """Wait for the head."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's pieces as they arrive. Raises UpstreamInterrupted if it is cut short."""

    async def aclose(self) -> None:
        """Release the source; idempotent."""


async def pieces_of(replay: Replay) -> AsyncIterator[bytes]:
    """Yield the body of a replay in one piece, as a pending answer yields its own."""
    yield replay.body
