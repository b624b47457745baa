"""One upstream request for a whole fleet: whoever holds the lease of an answer asks, others wait.

A lease is a promise and no lock. A proxy that finds one waits a while for the answer to be stored,
then asks by itself, so that nobody hangs, whatever becomes of the holder or of the server.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.core.errors import DependencyUnavailable
from app.core.metrics import Metrics
from app.core.ports import Leases, UpstreamResponse
from app.engine.resilience import Budget, Dependency

T = TypeVar("T")

_SECONDS = 0.25  # that one command may take
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25  # seconds between two looks
_RENEWALS = 3  # in the time that a lease lasts
_CLOSING_SECONDS = 2.0


class Lead(Generic[T]):
    """A request's place in the fleet; `found` is what another proxy has stored meanwhile."""

    def __init__(self, found: T | None = None, renew: Callable[[], None] = lambda: None) -> None:
        self.found = found
        self._renew = renew

    async def watch(self, response: UpstreamResponse) -> AsyncIterator[bytes]:
        """Return a body as it arrives; the lease lasts as long as there are bytes."""
        async for piece in response:
            self._renew()
            yield piece


class Fleet:
    """Decides which proxy asks the upstream. `wait` is in seconds; without leases, every one."""

    def __init__(self, leases: Leases | None, wait: float, metrics: Metrics) -> None:
        self._leases = leases
        self._wait = wait
        self._part = Dependency("store", "store-unavailable", metrics, time.monotonic)
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lead(
        self,
        name: str,
        look: Callable[[], Awaitable[T | None]],
        written: Callable[[], Awaitable[None]],
    ) -> AsyncIterator[Lead[T]]:
        """Take the lease of an answer, or wait for the answer that another proxy is asking for.

        `look` looks for the answer in the store. At the end of the block the lease is given back,
        as soon as `written` says that the answer is stored: those who wait will find it.
        """
        if self._leases is None:
            yield Lead()
            return
        lease = _Lease(self._leases, name, secrets.token_hex(8), self._wait)
        try:
            found = await self._settle(lease, look)
            yield Lead(found, lambda: self._renew(lease))
        finally:
            if lease.is_ours:
                self._begin(self._give_back(lease, written))

    async def _settle(self, lease: "_Lease", look: Callable[[], Awaitable[T | None]]) -> T | None:
        """Wait until the answer is stored, the lease is ours, or it is time to ask without a lease.

        With the lease in hand, the store is asked once more: the last holder may have stored the
        answer meanwhile. A second holder is not waited for: the first one failed, or its answer was
        not one to be stored, and the next one would be no different.
        """
        deadline = lease.now() + self._wait
        pause, first = _FIRST_PAUSE, ""
        with suppress(DependencyUnavailable):
            while True:
                holder = await self._part.call(lease.take, Budget(_SECONDS))
                if (found := await look()) is not None:
                    return found
                first = first or holder
                left = deadline - lease.now()
                if lease.is_ours or holder != first or left <= 0:
                    return None
                await asyncio.sleep(min(pause, left))
                pause = min(1.5 * pause, _LONGEST_PAUSE)
        return None

    def _renew(self, lease: "_Lease") -> None:
        if lease.is_ours and lease.now() > lease.renewed_at + self._wait / _RENEWALS:
            lease.renewed_at = lease.now()
            self._begin(self._call(lease.renew))

    async def _give_back(self, lease: "_Lease", written: Callable[[], Awaitable[None]]) -> None:
        await written()
        await self._call(lease.release)

    async def _call(self, work: Callable[[], Awaitable[None]]) -> None:
        with suppress(DependencyUnavailable):
            await self._part.call(work, Budget(_SECONDS))

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Release the leases that are held, within bounds, then disconnect."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_CLOSING_SECONDS)
        if self._leases is not None:
            async with aclosing(self._leases):
                pass


@dataclass(slots=True)
class _Lease:
    """The lease of one answer, as far as this request knows."""

    leases: Leases
    name: str
    token: str
    seconds: float
    is_ours: bool = False
    renewed_at: float = 0.0

    @staticmethod
    def now() -> float:
        return time.monotonic()

    async def take(self) -> str:
        holder = await self.leases.take(self.name, self.token, self.seconds)
        self.is_ours = holder == self.token
        self.renewed_at = self.now()
        return holder

    async def renew(self) -> None:
        self.is_ours = await self.leases.renew(self.name, self.token, self.seconds)

    async def release(self) -> None:
        self.is_ours = False
        await self.leases.release(self.name, self.token)
