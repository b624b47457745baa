"""Deadlines, so that no connection waits forever for a client that is slow or has disappeared."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

_LEAST_RATE = 500  # bytes per second of a body, on average from its beginning


@dataclass(frozen=True, slots=True)
class Patience:
    """The number of seconds that a client may take for each step of a request.

    `head`: from the first byte of a request to the end of its head.
    `client`: from one piece of a request's body to the next piece. A client also has this time to
    read most of an answer.
    `idle`: from the start of a connection or the end of an answer to the next request.
    """

    head: float = 30.0
    client: float = 60.0
    idle: float = 75.0


class Awaited(Enum):
    """The part of a request that the client must send next."""

    NOTHING = auto()  # the client only has to read the answer
    REQUEST = auto()
    HEAD = auto()
    BODY = auto()


class Deadlines:
    """The deadlines of one connection.

    If the client does not send the awaited part of a request in time, `on_late` is called with that
    part. If the client does not read the answer in time, the connection is closed at once. An error
    message would be useless, because the client would probably not read it.

    A new timer is set only if a deadline is earlier than the end of the present timer. Otherwise,
    the deadlines are checked when the present timer ends. Therefore, most requests set no timer.
    """

    def __init__(
        self,
        patience: Patience,
        transport: asyncio.Transport,
        on_late: Callable[[Awaited], None],
    ) -> None:
        self._patience = patience
        self._transport = transport
        self._on_late = on_late
        self._loop = asyncio.get_running_loop()
        self._awaited = Awaited.NOTHING
        self._since = 0.0
        self._received = 0  # bytes of the body
        self._due = math.inf  # deadline for what is awaited
        self._unread_until = math.inf  # deadline for reading what was sent
        self._timer = self._loop.call_later(patience.idle, self._look)

    def expect(self, awaited: Awaited, received: int = 0) -> None:
        """Set the part of a request that is awaited from now on, and its deadline.

        `received` is the number of bytes that have just arrived.
        """
        now = self._loop.time()
        if awaited is not self._awaited:
            self._awaited, self._since, self._received = awaited, now, 0
        elif awaited is not Awaited.BODY:
            return
        else:
            self._received += received
        self._due = self._due_after(now)
        self._look_by(self._due)

    def excuse(self) -> None:
        """Restart the deadline for a body, because the client could not send the body until now."""
        if self._awaited is Awaited.BODY:
            self._since, self._received = self._loop.time(), 0
            self._due = self._due_after(self._since)

    def await_reader(self) -> None:
        """Set the deadline until which the client must have read most of the answer."""
        self._unread_until = self._loop.time() + self._patience.client
        self._look_by(self._unread_until)

    def reader_is_back(self) -> None:
        """Remove the deadline for reading, because the client has read most of the answer."""
        self._unread_until = math.inf

    def end(self) -> None:
        """Remove all deadlines, because the connection has ended."""
        self._timer.cancel()

    def _due_after(self, now: float) -> float:
        match self._awaited:
            case Awaited.NOTHING:
                return math.inf
            case Awaited.REQUEST:
                return self._since + self._patience.idle
            case Awaited.HEAD:
                return self._since + self._patience.head
            case Awaited.BODY:
                steady = self._since + self._received / _LEAST_RATE
                return min(now, steady) + self._patience.client

    def _look_by(self, when: float) -> None:
        if when < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if self._due <= now:
            self._due = math.inf
            self._on_late(self._awaited)
        if self._transport.is_closing() and self._unread_until == math.inf:
            self._unread_until = now + self._patience.client  # closing waits until all was read
        if self._unread_until <= now:
            self._transport.abort()
            return
        when = min(self._due, self._unread_until, now + self._patience.idle)
        self._timer = self._loop.call_at(when, self._look)
