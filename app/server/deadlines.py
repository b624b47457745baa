"""How long a connection waits for its client, which may be slow, or not there any more."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

_LEAST_RATE = 500  # bytes of a body a second, over all of it


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds a client may take.

    `head` for the head of a request, from its first byte on; `idle` to begin one; `client` between
    two pieces of a body, or to read most of what it was sent.
    """

    head: float = 30.0
    client: float = 60.0
    idle: float = 75.0


class Awaited(Enum):
    """What is to come from the client next."""

    NOTHING = auto()  # but to read what it is sent
    REQUEST = auto()
    HEAD = auto()
    BODY = auto()


class Deadlines:
    """The deadlines of one connection.

    `on_late` is called when what is awaited has not come in time. A client that does not read, for
    too long, is cut off: whatever it might be told would not be read either.

    A timer is set anew only where a deadline is earlier than all before; else it looks when it goes
    off, so that a request costs next to nothing.
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
        self._due = math.inf  # what is awaited
        self._unread_until = math.inf  # what was sent
        self._timer = self._loop.call_later(patience.idle, self._look)

    def expect(self, awaited: Awaited, received: int = 0) -> None:
        """Take note of what is awaited from now on, and of how many bytes have just come."""
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
        """Take note that until now it was not for the client to send."""
        if self._awaited is Awaited.BODY:
            self._since, self._received = self._loop.time(), 0
            self._due = self._due_after(self._since)

    def await_reader(self) -> None:
        """Take note that the client has much to read."""
        self._unread_until = self._loop.time() + self._patience.client
        self._look_by(self._unread_until)

    def reader_is_back(self) -> None:
        """Take note that the client has read most of what it was sent."""
        self._unread_until = math.inf

    def end(self) -> None:
        """Wait no longer: the connection is gone."""
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
            self._unread_until = now + self._patience.client  # to close waits until all is read
        if self._unread_until <= now:
            self._transport.abort()
            return
        when = min(self._due, self._unread_until, now + self._patience.idle)
        self._timer = self._loop.call_at(when, self._look)
