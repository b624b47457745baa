"""Sends only one upstream request for an answer that several proxies need at the same time.

The proxies of a fleet share a store. The proxy that holds the lease of an answer asks the upstream,
and the other proxies wait until the answer is stored. A lease is not a strict lock: a proxy waits
for a limited time, and after that it asks the upstream itself. So no request hangs if the store or
the proxy with the lease fails.
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

_SECONDS = 0.25  # time limit of one command
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25  # seconds between two look-ups while waiting
_RENEWALS = 3  # renewals within the duration of a lease
_CLOSING_SECONDS = 2.0


class Lead(Generic[T]):
    """The result of `Fleet.lead`.

    `found` is the answer that another proxy stored. If `found` is None, the caller must ask the
    upstream.
    """

    def __init__(self, found: T | None = None, renew: Callable[[], None] = lambda: None) -> None:
        self.found = found
        self._renew = renew

    async def watch(self, response: UpstreamResponse) -> AsyncIterator[bytes]:
        """Yield the pieces of a response's body as they arrive. Renew the lease when necessary."""
        async for piece in response:
            self._renew()
            yield piece


class Fleet:
    """Decides whether this proxy or another one of the fleet asks the upstream for an answer.

    `leases`: the leases in the shared store. If None, every proxy asks the upstream.
    `wait`: the longest time to wait for another proxy's answer, in seconds. A lease that is not
    renewed ends after the same time.
    """

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
        """Take the lease of an answer, or wait until the proxy with the lease stores the answer.

        Use this as an async context manager. `name` is the name of the lease. `look` looks up the
        answer in the store. `written` returns once the answer is stored. After the `async with`
        block, a background task awaits `written` and then releases the lease, so that the waiting
        proxies find the answer.
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
        """Return the stored answer, or None if this proxy must ask the upstream.

        Wait until the answer is stored, until this proxy holds the lease, or until the longest wait
        is over. After taking the lease, look up the answer once more, because the last holder may
        have stored the answer before it released the lease. If the lease passes from another proxy
        to a third proxy, stop waiting. In that case, the first holder failed or got an answer that
        must not be stored. The second holder would probably have the same result.
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
        """Wait up to two seconds until all leases are released, then disconnect."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_CLOSING_SECONDS)
        if self._leases is not None:
            async with aclosing(self._leases):
                pass


@dataclass(slots=True)
class _Lease:
    """The lease of one answer.

    `is_ours`: whether this request held the lease at the last `take` or `renew`.
    """

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
