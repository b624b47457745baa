"""One forward request, read once, watched by many.

A *flight* is a task that fetches one answer and keeps it as it arrives. Readers follow at their
own pace, from the first byte, whenever they came. The task belongs to no reader: the first one
may leave and the others go on; when the last one leaves, the task is cancelled, which releases
the upstream.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import replace

from app.errors import UpstreamInterrupted, UpstreamUnreachable
from app.models import Head

_PATIENCE = 10.0  # seconds that one reader may hold the others up

Fill = Callable[["Flight"], Awaitable[None]]
"""Fetches an answer: calls `begin` once, then `write` for each piece; may raise at any point."""


class Flight:
    """One answer on its way.

    All of it is kept, up to `window` bytes, so that a reader can join at any time. Beyond that
    nobody can join any more, what every reader has seen is dropped, and the slowest one may lag
    `window` bytes behind before the upstream has to wait for it: memory is bounded. It waits for
    long only if nobody else does: else those that lag so far behind are cut off.
    """

    def __init__(self, fill: Fill, window: int) -> None:
        self._window = window
        self._head: Head | None = None
        self._pieces: list[bytes] = []
        self._kept = 0  # bytes in the pieces
        self._dropped = 0  # pieces that are gone from the front
        self._whole = True
        self._ended = False
        self._error: Exception | None = None
        self._readers: set[Reader] = set()
        self._progress = asyncio.Event()
        self._task = asyncio.ensure_future(self._run(fill))

    @property
    def joinable(self) -> bool:
        """Tell whether the answer is on its way and a new reader would get all of it."""
        return self._whole and not self._ended and bool(self._readers)

    def join(self, *, collapsed: bool = False) -> "Reader":
        """Add a reader; `collapsed` marks one that did not start the flight."""
        reader = Reader(self, collapsed=collapsed)
        self._readers.add(reader)
        return reader

    def begin(self, head: Head) -> None:
        """Tell the readers how the answer begins."""
        self._head = head
        self._wake()

    async def write(self, piece: bytes) -> None:
        """Pass on a piece of the body; waits while the slowest reader lags too far behind."""
        if not piece:
            return
        self._pieces.append(piece)
        self._kept += len(piece)
        self._wake()
        while self._kept > self._window:
            self._whole = False
            self._progress.clear()
            self._drop_what_all_have_seen()
            if self._kept > self._window:
                await self._wait_for_the_slowest()

    async def _wait_for_the_slowest(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._progress.wait()
        except TimeoutError:
            slowest = {reader for reader in self._readers if reader.position == self._dropped}
            if len(slowest) < len(self._readers):
                self._readers -= slowest
                for reader in slowest:
                    reader.cut_off()

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call back once the flight is over, however it ended."""
        self._task.add_done_callback(lambda _: callback())

    async def read(self, reader: "Reader") -> bytes:
        """Give a reader what it has not seen yet; nothing at the end of the body."""
        while not (unseen := self._unseen_by(reader)):
            if self._ended:
                if self._error is not None:
                    raise self._error
                return b""
            await reader.wait()
        reader.position += len(unseen)
        self._progress.set()
        return unseen[0] if len(unseen) == 1 else b"".join(unseen)

    def _unseen_by(self, reader: "Reader") -> list[bytes]:
        if reader.is_cut_off:
            raise UpstreamInterrupted("the reader lagged too far behind the others")
        return self._pieces[reader.position - self._dropped :]

    async def head(self, reader: "Reader") -> Head:
        """Wait for the beginning of the answer; raises what the flight failed with."""
        while self._head is None:
            if self._ended:
                raise self._error or UpstreamUnreachable("The upstream gave no answer.")
            await reader.wait()
        return self._head

    def leave(self, reader: "Reader") -> None:
        """Remove a reader; the last one takes the flight with it."""
        self._readers.discard(reader)
        self._progress.set()
        if not self._readers and not self._ended:
            self._task.cancel()

    async def _run(self, fill: Fill) -> None:
        try:
            await fill(self)
        except asyncio.CancelledError:
            self._error = UpstreamInterrupted("the flight was cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - every reader raises it in its own place
            self._error = error
        finally:
            self._ended = True
            self._wake()

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()

    def _drop_what_all_have_seen(self) -> None:
        seen = min((reader.position for reader in self._readers), default=self._dropped)
        gone = self._pieces[: seen - self._dropped]
        self._kept -= sum(map(len, gone))
        del self._pieces[: len(gone)]
        self._dropped += len(gone)


class Reader:
    """One client's view of a flight; async iteration gives the body. Close it when done."""

    def __init__(self, flight: Flight, *, collapsed: bool) -> None:
        self._flight = flight
        self.collapsed = collapsed
        self._changed = asyncio.Event()
        self.position = 0  # pieces seen
        self.is_cut_off = False

    async def head(self) -> Head:
        """Wait for the beginning of the answer; raises what the flight failed with."""
        head = await self._flight.head(self)
        if not self.collapsed or head.cache_status.forward is None:
            return head
        return replace(
            head,
            # Cookies are for the client whose request was forwarded.
            headers=[header for header in head.headers if header[0] != b"set-cookie"],
            cache_status=replace(head.cache_status, collapsed=True),
        )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._flight.read(self):
            yield piece

    async def aclose(self) -> None:
        """Leave the flight; idempotent."""
        self._flight.leave(self)

    def cut_off(self) -> None:
        """End this view: it gives no more of the body."""
        self.is_cut_off = True
        self.wake()

    def wake(self) -> None:
        """Note that the flight has moved on."""
        self._changed.set()

    async def wait(self) -> None:
        """Wait until the flight moves on."""
        self._changed.clear()
        await self._changed.wait()


class SingleFlight:
    """The flights under way, by what they fetch."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._flights: dict[Hashable, Flight] = {}

    def join(self, key: Hashable, fill: Fill) -> Reader:
        """Follow the flight of this key, starting it if there is none to join."""
        flight = self._flights.get(key)
        if flight is not None and flight.joinable:
            return flight.join(collapsed=True)
        flight = Flight(fill, self._window)
        self._flights[key] = flight
        flight.on_end(lambda: self._forget(key, flight))
        return flight.join()

    def alone(self, fill: Fill) -> Reader:
        """Start a flight that nobody else can join."""
        return Flight(fill, self._window).join()

    def _forget(self, key: Hashable, flight: Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
