"""Removes stored answers that a client deletes at the upstream through this proxy.

If this process stored the answer, the process finds the entry by the id that the upstream gave to
the answer. Otherwise, the whole store is searched. For example, another proxy of the fleet may have
stored the answer. One search looks for the answers of all waiting deletions.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from app.core.cache_status import Head
from app.core.errors import DependencyUnavailable
from app.core.models import ClientRequest
from app.engine.answers import PendingAnswer
from app.engine.forwarder import Forwarder, Forwarding
from app.engine.operations import Operations

_SUCCESS = range(200, 300)


class Deletions:
    """Forwards requests that never use the cache, and removes the answers that clients delete.

    `id_in` returns the id of the answer that a request deletes, as given by the upstream. It
    returns None if the request deletes no answer.
    """

    def __init__(
        self,
        forwarder: Forwarder,
        operations: Operations,
        id_in: Callable[[ClientRequest], str | None],
    ) -> None:
        self._forwarder = forwarder
        self._operations = operations
        self._id_in = id_in
        self._sought: set[str] = set()
        self._seeking = asyncio.Lock()

    def pass_through(self, request: ClientRequest) -> PendingAnswer:
        """Return the upstream's answer to a request, without looking into the store.

        Raises NotCached if the request has `only-if-cached`.
        """
        answer = self._forwarder.bypass(request, "passthrough")
        name = self._id_in(request)
        return answer if name is None else _Deleting(answer, lambda: self._forget(name))

    async def _forget(self, name: str) -> None:
        self._sought.add(name)
        with suppress(DependencyUnavailable):  # counted; the next deletion tries again
            if await self._operations.forget_known(name):
                self._sought.discard(name)
                return
            async with self._seeking:
                if name in self._sought:  # else another search has covered it
                    await self._seek()

    async def _seek(self) -> None:
        names, self._sought = self._sought, set()
        try:
            await self._operations.forget(names)
        except BaseException:
            self._sought |= names  # the next search covers them
            raise


class _Deleting:
    """The upstream's answer to a request that deletes a stored answer.

    `forget` removes the stored answer before the client gets the head of the upstream's answer.
    """

    def __init__(self, answer: Forwarding, forget: Callable[[], Awaitable[None]]) -> None:
        self._answer = answer
        self._forget = forget

    async def head(self) -> Head:
        """Return the head of the upstream's answer. If the status is 2xx, call `forget` first."""
        head = await self._answer.head()
        if head.status_code in _SUCCESS:
            await self._forget()
        return head

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._answer:
            yield piece

    async def aclose(self) -> None:
        """Close the upstream's answer. Further calls have no effect."""
        await self._answer.aclose()
