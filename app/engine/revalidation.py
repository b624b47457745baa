"""Fetches newer answers in the background after stale answers were served (RFC 5861 §3).

Each answer has at most one revalidation at a time, and at most a few dozen revalidations run at
once. If the upstream fails or its answer is not stored, no revalidation of the same answer starts
for the next ten seconds. So a failing upstream does not get one request for each stale hit.
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
_OK = 200  # after another status, another caller's credentials may bring a better answer
_MOST_RESTING = 4096

_logger = logging.getLogger("reprise.cache")


IsRenewed = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class _Refresh:
    flight: Flight
    task: "asyncio.Task[None]"


class Revalidations:
    """Runs flights in the background. Requests for the same answer may join a running flight."""

    def __init__(self, window: int, clock: Clock, inflight: Inflight) -> None:
        self._window = window
        self._inflight = inflight
        self._clock = clock
        self._under_way: dict[Hashable, _Refresh] = {}
        self._resting: Recent[Hashable, float] = Recent(_MOST_RESTING)  # names, and until when

    def begin(self, name: Hashable, form: Hashable, fill: Fill, is_renewed: IsRenewed) -> None:
        """Start to fetch an answer in the background, and return at once.

        `name` identifies the answer. `form` is the form in which the answer is fetched. `fill`
        fetches the answer. `is_renewed` is called after the fetch, and returns whether the store
        has a newer answer.

        Nothing is started in three cases: the answer is being fetched already, a fetch of the
        answer failed a short time ago, or too many fetches are running.
        """
        if name in self._under_way or len(self._under_way) >= _MOST:
            return
        if (self._resting.get(name) or 0.0) > self._clock():
            return
        flight = Flight(fill, self._window, form=form, inflight=self._inflight)
        task = asyncio.create_task(self._see_to_its_end(name, flight.join(), is_renewed))
        self._under_way[name] = _Refresh(flight, task)

    def join(self, name: Hashable, form: Hashable) -> Follower | None:
        """Join the running fetch with this name and form; return None if no such fetch runs."""
        refresh = self._under_way.get(name)
        if refresh is None or refresh.flight.form != form or not refresh.flight.joinable:
            return None
        return refresh.flight.join(collapsed=True)

    async def aclose(self) -> None:
        """Wait for the running fetches, for a limited time."""
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
                self._failed(name, "its answer was not stored")
        except Exception as error:  # noqa: BLE001 - no caller awaits this task
            self._failed(name, type(error).__name__)
        finally:
            del self._under_way[name]

    def _failed(self, name: Hashable, how: str) -> None:
        _logger.warning("a background revalidation failed: %s", how)
        self._resting.keep(name, self._clock() + _REST)


async def follow(flight: Flight, reader: Follower) -> None:
    """Send the answer that `reader` gets from another flight to the readers of `flight`."""
    async with aclosing(reader):
        flight.begin(await reader.head())
        async for piece in reader:
            await flight.write(piece)
        flight.settle(await reader.result())
