"""Answers a request with another request's answer.

If the upstream refused the other request, the request is answered separately.
"""

from collections.abc import AsyncIterator, Callable

from app.core.cache_status import Head
from app.engine.answers import PendingAnswer

_REFUSED, _FAILED = 400, 500  # the first status of client errors, and of server errors


class Joined:
    """The answer for a caller whose request joined another caller's request.

    Normally, the caller gets the answer to the other request. But if the status of that answer is
    4xx, the caller's own request is answered separately. The upstream may have refused the other
    request because of a field or header that is not part of the key. The caller's own request may
    lack this field or header.

    Async iteration yields the body. Call `aclose` at the end.
    """

    def __init__(self, answer: PendingAnswer, ask: Callable[[], PendingAnswer]) -> None:
        self._answer = answer
        self._ask = ask

    async def head(self) -> Head:
        """Wait for the answer's head and return it.

        If the upstream request failed, raises the error of this request.
        """
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
        """Close the answer. Further calls have no effect."""
        await self._answer.aclose()


def is_refusal(status_code: int) -> bool:
    """Return whether a status code is a client error, 4xx (RFC 9110 §15.5)."""
    return _REFUSED <= status_code < _FAILED
