"""What a client deletes at the upstream through this proxy is not answered any more."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from app.core.errors import DependencyUnavailable
from app.core.models import ClientRequest, Head
from app.engine.answers import PendingAnswer
from app.engine.forwarder import Forwarder, Forwarding
from app.engine.operations import Operations

_SUCCESS = range(200, 300)


class Deletions:
    """Forwards what is not cached, and removes what has been deleted by it.

    `id_in` returns the id of the answer that a request deletes, or None.
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

    def pass_through(self, request: ClientRequest) -> PendingAnswer:
        """Send a request past the cache. Raises NotCached if it wants nothing else."""
        answer = self._forwarder.bypass(request, "passthrough")
        name = self._id_in(request)
        return answer if name is None else _Deleting(answer, name, self._operations)


class _Deleting:
    """The answer to a deletion. Before its head goes on, what was deleted is removed."""

    def __init__(self, answer: Forwarding, name: str, operations: Operations) -> None:
        self._answer = answer
        self._name = name
        self._operations = operations

    async def head(self) -> Head:
        """Wait for the head of the upstream's answer."""
        head = await self._answer.head()
        if head.status_code in _SUCCESS:
            with suppress(DependencyUnavailable):  # which is counted and logged
                await self._operations.forget(self._name)
        return head

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._answer:
            yield piece

    async def aclose(self) -> None:
        """Release the upstream; idempotent."""
        await self._answer.aclose()
