"""A stored response that takes the upstream's place if it fails (RFC 5861 §4)."""

from collections.abc import AsyncIterator, Awaitable, Callable

from app.core.cache_status import Head, Replay
from app.core.defects import log_defect
from app.core.errors import UpstreamInterrupted, UpstreamTimeout, UpstreamUnreachable
from app.engine.answers import PendingAnswer, pieces_of
from app.rules.freshness import is_failure

_Failed = UpstreamInterrupted | UpstreamTimeout | UpstreamUnreachable

StandIn = Callable[[int | None], Awaitable[Replay | None]]
"""Looks for what may be served instead of a failure, whose status it is told if there is one."""


class StaleIfError:
    """An answer on its way, and a stored one that replaces it as long as nothing has been sent.

    `waits` holds the head back until some of the body has come: worth it where a stored response is
    known that may stand in. Async iteration gives the body. Close it when done.
    """

    def __init__(self, source: PendingAnswer, stand_in: StandIn, *, waits: bool) -> None:
        self._source = source
        self._pieces = aiter(source)
        self._stand_in = stand_in
        self._waits = waits
        self._first = b""
        self._error: _Failed | None = None

    async def head(self) -> Head:
        """Wait for the head; raises what the source failed with if nothing stands in."""
        head = None
        try:
            head = await self._source.head()
            if not is_failure(head.status_code):
                self._first = await anext(self._pieces, b"") if self._waits else b""
                return head
        except (UpstreamInterrupted, UpstreamTimeout, UpstreamUnreachable) as error:
            if taken_over := await self._take_over(None):
                return taken_over
            if head is None:
                raise
            self._error = error
            return head
        return await self._take_over(head.status_code) or head

    async def _take_over(self, failed: int | None) -> Head | None:
        try:
            replay = await self._stand_in(failed)
        except Exception as error:  # noqa: BLE001 - a defect of ours: nothing stands in
            log_defect(error)
            return None
        if replay is None:
            return None
        await self.aclose()
        self._pieces = pieces_of(replay)
        return replay.head

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._error is not None:
            raise self._error
        if self._first:
            yield self._first
        async for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        """Release the source; idempotent."""
        await self._source.aclose()
