"""Newer answers fetched behind stale ones that have been served (RFC 5861 §3).

For each thing one at a time, for all together no more than a few dozen. After a failure, or where
nothing newer is stored in the end, that one is not fetched again for a while: the upstream is not
asked by everyone who is served.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass

from app.core.inflight import Inflight
from app.core.models import Clock
from app.core.recent import Recent
from app.engine.flights import Fill, Flight, Follower, see_out
from app.rules.freshness import is_failure

_MOST = 64
_REST = 10.0  # seconds
_OK = 200  # of other answers another caller, who may be known to the upstream, gets a better one
_MOST_RESTING = 4096

_logger = logging.getLogger("reprise.cache")


IsRenewed = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class _Refresh:
    flight: Flight
    task: "asyncio.Task[None]"


class Revalidations:
    """Flights that nobody waits for, by what they fetch; others may follow them."""

    def __init__(self, window: int, clock: Clock, inflight: Inflight) -> None:
        self._window = window
        self._inflight = inflight
        self._clock = clock
        self._under_way: dict[Hashable, _Refresh] = {}
        self._resting: Recent[Hashable, float] = Recent(_MOST_RESTING)  # and until when

    def begin(self, name: Hashable, form: Hashable, fill: Fill, is_renewed: IsRenewed) -> None:
        """Start a fetch in the background, and return at once.

        Nothing happens if one of this name is under way or has just failed, or if too many are
        under way. When the fetch has ended, `is_renewed` says whether something newer is stored.
        """
        if name in self._under_way or len(self._under_way) >= _MOST:
            return
        if (self._resting.get(name) or 0.0) > self._clock():
            return
        flight = Flight(fill, self._window, form=form, inflight=self._inflight)
        task = asyncio.create_task(self._see_to_its_end(name, flight.join(), is_renewed))
        self._under_way[name] = _Refresh(flight, task)

    def join(self, name: Hashable, form: Hashable) -> Follower | None:
        """Follow what is being fetched, if it has the form that is wanted."""
        refresh = self._under_way.get(name)
        if refresh is None or refresh.flight.form != form or not refresh.flight.joinable:
            return None
        return refresh.flight.join(collapsed=True)

    async def aclose(self) -> None:
        """Finish what is being fetched, within bounds."""
        await see_out([refresh.task for refresh in self._under_way.values()])

    async def _see_to_its_end(
        self, name: Hashable, reader: Follower, is_renewed: IsRenewed
    ) -> None:
        try:
            async with aclosing(reader):
                head = await reader.head()
                async for _ in reader:
                    pass
            if is_failure(head.status_code):
                self._failed(name, f"status {head.status_code}")
            elif head.status_code == _OK and not await is_renewed():
                self._failed(name, "nothing newer is stored")
        except Exception as error:  # noqa: BLE001 - nobody waits for it
            self._failed(name, type(error).__name__)
        finally:
            del self._under_way[name]

    def _failed(self, name: Hashable, how: str) -> None:
        _logger.warning("a refresh failed: %s", how)
        self._resting.keep(name, self._clock() + _REST)


async def follow(flight: Flight, reader: Follower) -> None:
    """Let a flight give what another one gives."""
    async with aclosing(reader):
        flight.begin(await reader.head())
        async for piece in reader:
            await flight.write(piece)
        flight.settle(await reader.result())
