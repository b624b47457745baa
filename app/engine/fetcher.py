"""Sends one upstream request for all readers of a flight, and stores a copy of the answer.

The code is the same for every API.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from app.core.cache_status import CacheStatus, DiscardReason, Head
from app.core.inflight import Hold
from app.core.models import ClientRequest, SharedAnswer
from app.core.ports import UpstreamResponse
from app.dialects.dialect import AnswerReader
from app.engine.context import Context
from app.engine.flights import Flight
from app.engine.forwarder import Forwarder, outgoing
from app.engine.recorder import Recorder
from app.engine.tee import tee
from app.engine.write_order import WriteOrder, WriteTicket
from app.rules.decisions import Recorded
from app.rules.headers import ALLOW_ORIGIN, value_of
from app.rules.limits import Limits


class Shareable(Protocol):
    """An answer that collapsed requests may share."""

    @property
    def whole(self) -> SharedAnswer | None:
        """The complete answer; None if collapsed requests must not share the answer."""


T = TypeVar("T", bound=Shareable)

Watch = Callable[[UpstreamResponse], AsyncIterator[bytes]]
"""A function that yields a response's body as it arrives. It may do more, such as renew a lease."""


def watch_nothing(response: UpstreamResponse) -> AsyncIterator[bytes]:
    """Return an iterator over a response's body, and do nothing else."""
    return aiter(response)


@dataclass(frozen=True, slots=True)
class Wanted(Generic[T]):
    """A request to the upstream, and how to read and store its answer.

    `status`: the cache status to tell the client.
    `names`: the exact keys under which the answer may be stored.
    `reader`: returns a reader of the answer. The argument is True if the answer is an event stream.
    `keep`: stores the complete answer if allowed. It returns None, or the reason why the answer was
    not stored. It is called at most once.
    `entry`: returns the id under which the answer may be stored. The argument is the value of the
    answer's Access-Control-Allow-Origin header, or "" if there is no such header.
    """

    request: ClientRequest
    status: CacheStatus
    names: Collection[str]
    limits: Limits
    reader: Callable[[bool], AnswerReader[T]]
    keep: Callable[[Recorded[T], WriteTicket], Awaitable[DiscardReason | None]]
    entry: Callable[[str], str] = lambda _: ""


class Fetcher:
    """Passes answers of the upstream on to the readers of flights, and stores copies."""

    def __init__(self, forwarder: Forwarder, context: Context) -> None:
        self._forwarder = forwarder
        self._not_stored = context.metrics.not_stored
        self._clock = context.clock
        self._inflight = context.inflight
        self._order = WriteOrder()

    async def fetch(self, wanted: Wanted[T], flight: Flight, watch: Watch = watch_nothing) -> None:
        """Pass the upstream's answer on to the readers of `flight` as it arrives.

        The answer is stored before its last bytes are passed on. `watch` gets the upstream's
        response and yields its body.

        Raises UpstreamUnreachable, UpstreamTimeout or UpstreamInterrupted.
        """
        request, begin = outgoing(wanted.request, identity=True), self._clock()
        with self._order.take(wanted.names) as ticket, Hold(self._inflight) as hold:
            async with aclosing(await self._forwarder.send(request)) as response:
                allow_origin = value_of(response.headers, ALLOW_ORIGIN) or ""
                status = replace(wanted.status, entry=wanted.entry(allow_origin))
                head = Head(response.status_code, response.headers, status)
                recorder = Recorder(head, wanted.limits, wanted.reader, hold)

                async def keep(recorded: Recorded[T]) -> SharedAnswer | None:
                    recorded = replace(recorded, seconds=max(0.0, self._clock() - begin))
                    if reason := await wanted.keep(recorded, ticket):
                        self._not_stored.labels(reason).inc()
                    return recorded.answer.whole

                await tee(flight, watch(response), head, recorder, keep)
        if recorder.reason:
            self._not_stored.labels(recorder.reason).inc()
