"""Answers to requests that others have made, for as long as these are not refused."""

from collections.abc import AsyncIterator, Callable

from app.core.cache_status import Head
from app.engine.answers import PendingAnswer

_REFUSED, _FAILED = 400, 500  # where the statuses begin that blame the request, or the server


class Joined:
    """Another request's answer; if that is a refusal (4xx), the answer to a request of one's own.

    What the requests differ in may be the reason: a field that takes no part in the key, or a
    header. Async iteration gives the body. Close it.
    """

    def __init__(self, answer: PendingAnswer, ask: Callable[[], PendingAnswer]) -> None:
        self._answer = answer
        self._ask = ask

    async def head(self) -> Head:
        """Wait for the head; raises what the answer failed with."""
        head = await self._answer.head()
        if head.cache_status.collapsed and is_refusal(head.status_code):
            await self._answer.aclose()
            self._answer = self._ask()
            head = await self._answer.head()
        return head

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._answer:
            yield piece

    async def aclose(self) -> None:
        """Release the source; idempotent."""
        await self._answer.aclose()


def is_refusal(status_code: int) -> bool:
    """Whether a status says that the request is at fault (RFC 9110 §15.5)."""
    return _REFUSED <= status_code < _FAILED
