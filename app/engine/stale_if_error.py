"""Serves a stored response if the upstream fails (RFC 5861 §4)."""

from collections.abc import AsyncIterator, Awaitable, Callable

from app.core.cache_status import Head, Replay
from app.core.defects import log_defect
from app.core.errors import UpstreamInterrupted, UpstreamTimeout, UpstreamUnreachable
from app.engine.answers import PendingAnswer, pieces_of
from app.rules.freshness import is_failure

_Failed = UpstreamInterrupted | UpstreamTimeout | UpstreamUnreachable

StandIn = Callable[[int | None], Awaitable[Replay | None]]
"""A function that returns a stored response to serve because the upstream failed.

The argument is the status of the upstream's answer, or None if the upstream did not answer. The
function returns None if no stored response may be served.
"""


class StaleIfError:
    """The upstream's answer, or a stored response if the upstream fails early.

    A stored response can replace the upstream's answer only until `head` returns. If `waits` is
    true, `head` also waits for the first piece of the body. In this case, a stored response can
    also replace an answer that fails before that piece. Waiting is useful only if a stored response
    is known.

    Async iteration yields the body. Call `aclose` at the end.
    """

    def __init__(self, source: PendingAnswer, stand_in: StandIn, *, waits: bool) -> None:
        self._source = source
        self._pieces = aiter(source)
        self._stand_in = stand_in
        self._waits = waits
        self._first = b""
        self._error: _Failed | None = None

    async def head(self) -> Head:
        """Wait for the answer's head and return it.

        If the upstream request failed and no stored response replaces the answer, raises the error.
        """
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
        except Exception as error:  # noqa: BLE001 - a bug of ours: serve the failure itself
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
        """Close the answer. Further calls have no effect."""
        await self._source.aclose()
