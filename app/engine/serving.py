"""Renders stored responses in the form that a request asks for."""

import random
from dataclasses import dataclass

from app.core.cache_status import CacheStatus, Replay
from app.core.inflight import Hold
from app.core.models import SharedAnswer
from app.core.offload import by_size
from app.engine.context import Context
from app.engine.flights import Flight
from app.engine.lookup import Lookup
from app.engine.savings import Savings
from app.rules.decisions import Serve
from app.rules.plan import Plan


def new_request_id() -> str:
    """Return a new value of the header `x-request-id`, for an answer that Reprise creates."""
    return f"req_{random.getrandbits(128):032x}"


@dataclass(frozen=True, slots=True)
class Served:
    """The decision to serve a stored response, and the answer made from this response."""

    decision: Serve
    replay: Replay

    async def give(self, flight: Flight) -> None:
        """Send the rendered response to all readers of a flight."""
        stored = self.decision.stored
        flight.begin(self.replay.head)
        flight.settle(SharedAnswer(stored.content, stored.fullness))
        await flight.write(self.replay.body)


class Serving:
    """Renders stored responses and counts the hits of each entry."""

    def __init__(self, lookup: Lookup, savings: Savings, context: Context) -> None:
        self.lookup = lookup
        self.savings = savings
        self._failures = context.metrics.failures.labels("store")
        self._clock = context.clock
        self._inflight = context.inflight

    async def serve(self, plan: Plan, decision: Serve) -> Served | None:
        """Render the stored response in `decision`, and count a hit of that entry.

        Return None if the stored response cannot be read or if the process holds too many bytes.
        In these cases, the request is a miss.
        """
        content = decision.stored.content
        if not self._inflight.has_room_for(len(content)):
            return None
        with Hold(self._inflight) as hold:  # counted first, so that other requests see it
            hold.add(len(content))
            replay = await self.render(plan, content, decision.status)
        if replay is None:
            self._failures.inc()
            return None
        if allowed := decision.stored.allow_origin:
            replay = replay.readable_by(allowed)
        self.lookup.note_served(plan, decision)
        return Served(decision, replay)

    async def render(self, plan: Plan, content: bytes, status: CacheStatus) -> Replay | None:
        """Return the answer `content` in the form that a request asks for.

        Return None if `content` cannot be read.
        """
        nonce, now = f"{random.getrandbits(128):032x}", self._clock()
        try:
            replay = await by_size(
                len(content), lambda: plan.parsed.render(content, status, nonce=nonce, now=now)
            )
            return replay.named(new_request_id())
        except ValueError:
            return None
