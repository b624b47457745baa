"""Streams from the store at a pace that a client can be watched reading at."""

import asyncio
from collections.abc import AsyncIterator

from app.api.cached import Handler
from app.arriving import Arriving, pieces_of
from app.headers import value_of
from app.models import ClientRequest, Head, Replay

_END_OF_EVENT = b"\n\n"


class PacedHandler:
    """A handler whose streams from the store take `delay` seconds from event to event."""

    def __init__(self, handler: Handler, delay: float) -> None:
        self._handler = handler
        self._delay = delay

    async def handle(self, request: ClientRequest, body: bytes) -> "Paced":
        """Choose what answers a request."""
        return Paced(await self._handler.handle(request, body), self._delay)


class Paced:
    """An answer that is held back from event to event if it is a stream from the store."""

    def __init__(self, answer: Replay | Arriving, delay: float) -> None:
        self._answer = answer
        self._delay = delay
        self._is_held = False

    async def head(self) -> Head:
        """Wait for the head."""
        answer = self._answer
        head = answer.head if isinstance(answer, Replay) else await answer.head()
        media_type = value_of(head.headers, b"content-type") or ""
        is_stream = media_type.startswith("text/event-stream")
        self._is_held = head.cache_status.is_stored and is_stream
        return head

    async def __aiter__(self) -> AsyncIterator[bytes]:
        is_first = True
        answer = self._answer
        async for piece in pieces_of(answer) if isinstance(answer, Replay) else answer:
            for event in piece.split(_END_OF_EVENT)[:-1] if self._is_held else ():
                if not is_first:
                    await asyncio.sleep(self._delay)
                is_first = False
                yield event + _END_OF_EVENT
            if not self._is_held:
                yield piece

    async def aclose(self) -> None:
        """Release the source; idempotent."""
        if not isinstance(self._answer, Replay):
            await self._answer.aclose()
