"""Flights: running upstream requests, each with an answer that several clients can read.

A *flight* is a task that fetches one answer and keeps the bytes while they arrive. Each reader gets
all bytes of the answer, from the first one, at the reader's own pace. The task belongs to no
reader: the first reader may leave while other readers stay. When the last reader leaves, the task
is cancelled and the upstream request is closed. There is one exception: if the flight's `finish` is
true and the answer can still be stored, the task goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable, Iterable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType

from app.core.cache_status import Head
from app.core.errors import UpstreamInterrupted, UpstreamUnreachable
from app.core.inflight import Hold, Inflight
from app.core.models import SharedAnswer

_PATIENCE = 1.0  # total seconds for which one reader may make the others wait
_CLOSING_SECONDS = 5.0
_PIECE = 65_536  # bytes that a reader gets at once; more only if a single piece is larger
_LEAST_WINDOW = 262_144  # bytes; the window while the process holds too many bytes

Fill = Callable[["Flight"], Awaitable[None]]
"""A function that fetches the answer of a flight. It may raise at any point.

The function calls the flight's `begin` once, and after that the flight's `write` for each piece of
the body. It also calls the flight's `settle` with the complete answer, because some readers want
the answer in another form.
"""


class Flight:
    """One answer that is being fetched.

    All bytes are kept until more than `window` bytes have arrived, so that new readers can join.
    After that, nobody can join, and pieces that every reader has read are dropped. To limit memory,
    the upstream must wait while the slowest reader is more than `window` bytes behind. A reader
    that makes other readers wait for more than a second in total is cut off.

    `fill`: fetches the answer.
    `form`: the form of the answer, for example streamed.
    `finish`: whether a flight without readers goes on while the answer can still be stored.
    `inflight`: counts the bytes that this process holds in memory. While it holds too many bytes,
    the window is smaller.
    """

    def __init__(
        self,
        fill: Fill,
        window: int,
        *,
        form: Hashable = None,
        finish: bool = False,
        inflight: Inflight | None = None,
    ) -> None:
        self.form = form
        self._window = window
        self._finish = finish
        self._head: Head | None = None
        self._pieces: list[bytes] = []
        self._kept = 0  # bytes in the pieces
        self._hold = Hold(inflight or Inflight())
        self._dropped = 0  # number of pieces dropped from the front
        self._whole = True
        self._ended = False
        self._cancelled = False
        self._settled = False
        self._result: SharedAnswer | None = None
        self._error: Exception | None = None
        self._trace: TracebackType | None = None
        self._readers: set[Follower] = set()
        self._progress = asyncio.Event()
        self._task = asyncio.ensure_future(self._run(fill))

    @property
    def joinable(self) -> bool:
        """Whether the answer is still arriving and a new reader would get the whole answer."""
        return self._whole and not self._ended and not self._cancelled

    def join(self, *, collapsed: bool = False) -> "Follower":
        """Add a new reader and return this reader.

        `collapsed`: whether another request started the flight.
        """
        reader = Follower(self, collapsed=collapsed)
        self._readers.add(reader)
        return reader

    def begin(self, head: Head) -> None:
        """Pass the answer's head on to all readers."""
        self._head = head
        self._wake()

    async def write(self, piece: bytes) -> None:
        """Pass a piece of the body on to all readers.

        If the slowest reader is too far behind, wait for this reader.
        """
        if not piece:
            return
        self._pieces.append(piece)
        self._kept += len(piece)
        self._hold.add(len(piece))
        self._wake()
        while self._kept > self._present_window():
            self._whole = False
            self._cancel_if_in_vain()
            self._progress.clear()
            self._drop_what_all_have_seen()
            if self._kept > self._present_window():
                await self._wait_for_the_slowest()

    def _present_window(self) -> int:
        if self._hold.inflight.is_full:
            return min(self._window, _LEAST_WINDOW)
        return self._window

    def settle(self, result: SharedAnswer | None) -> None:
        """Set the complete answer, or None if the answer cannot be shared.

        Only the first call has an effect.
        """
        if not self._settled:
            self._settled = True
            self._result = result
            self._wake()
            self._cancel_if_in_vain()

    async def _wait_for_the_slowest(self) -> None:
        end = self._dropped + len(self._pieces)
        slowest = [reader for reader in self._readers if reader.position == self._dropped]
        if all(reader.position < end for reader in self._readers):
            await self._progress.wait()  # no other reader is waiting
            return
        loop = asyncio.get_running_loop()
        begin = loop.time()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE - max(reader.held_up for reader in slowest)):
                await self._progress.wait()
        for reader in slowest:
            reader.held_up += loop.time() - begin
            if reader.held_up >= _PATIENCE:
                self._readers.discard(reader)
                reader.cut_off()

    @property
    def task(self) -> "asyncio.Future[None]":
        """The task that fetches the answer."""
        return self._task

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the flight has ended, with or without success."""
        self._task.add_done_callback(lambda _: callback())

    async def read(self, reader: "Follower") -> bytes:
        """Wait for bytes of the body that `reader` has not got yet, and return these bytes.

        Return b"" at the end of the body. If the flight failed, raises the flight's error.
        """
        while not (unseen := self._unseen_by(reader)):
            if self._ended:
                if self._error is not None:
                    raise self._error.with_traceback(self._trace)
                return b""
            await reader.wait()
        count, size = 0, 0
        while count < len(unseen) and (not count or size + len(unseen[count]) <= _PIECE):
            size += len(unseen[count])
            count += 1
        reader.position += count
        self._progress.set()
        return unseen[0] if count == 1 else b"".join(unseen[:count])

    def _unseen_by(self, reader: "Follower") -> list[bytes]:
        if reader.is_cut_off:
            raise UpstreamInterrupted("a client read a shared answer too slowly and was cut off")
        return self._pieces[reader.position - self._dropped :]

    async def head(self, reader: "Follower") -> Head:
        """Wait for the answer's head and return it.

        If the flight failed, raises the flight's error.
        """
        while self._head is None:
            if self._ended:
                error = self._error or UpstreamUnreachable("The upstream gave no answer.")
                raise error.with_traceback(self._trace)
            await reader.wait()
        return self._head

    async def result(self, reader: "Follower") -> SharedAnswer | None:
        """Wait for the complete answer and return it; None if the answer cannot be shared.

        `reader` gets no more bytes of the body.
        """
        while not (self._settled or self._ended):
            reader.position = self._dropped + len(self._pieces)
            self._progress.set()
            await reader.wait()
        return self._result

    def leave(self, reader: "Follower") -> None:
        """Remove a reader. If no reader is left, the fetch may be cancelled."""
        self._readers.discard(reader)
        self._progress.set()
        self._cancel_if_in_vain()
        self._let_go_if_over()

    def _cancel_if_in_vain(self) -> None:
        """Cancel the fetch if no reader is left and the rest of the answer is not needed.

        The rest is needed while the answer can still be stored and `finish` is true.
        """
        if self._readers or self._ended or self._cancelled:
            return
        if self._settled or not (self._finish and self._whole):
            self._cancelled = True
            self._task.cancel()

    async def _run(self, fill: Fill) -> None:
        try:
            await fill(self)
        except asyncio.CancelledError:
            self._error = UpstreamInterrupted("the request to the upstream was cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - raised to every reader
            self._error = error
            self._trace = error.__traceback__  # otherwise each raise would extend it
        finally:
            self._ended = True
            self._wake()
            self._let_go_if_over()

    def _let_go_if_over(self) -> None:
        if self._ended and not self._readers:
            self._pieces.clear()
            self._hold.release()

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()

    def _drop_what_all_have_seen(self) -> None:
        seen = min((reader.position for reader in self._readers), default=self._dropped)
        gone = self._pieces[: seen - self._dropped]
        size = sum(map(len, gone))
        self._kept -= size
        self._hold.drop(size)
        del self._pieces[: len(gone)]
        self._dropped += len(gone)


class Follower:
    """A reader of a flight's answer. Async iteration yields the body.

    Call `aclose` at the end.
    `collapsed`: whether another request started the flight.
    """

    def __init__(self, flight: Flight, *, collapsed: bool) -> None:
        self._flight = flight
        self.collapsed = collapsed
        self._changed = asyncio.Event()
        self.position = 0  # number of pieces seen
        self.held_up = 0.0  # seconds for which others have waited for this reader
        self.is_cut_off = False

    @property
    def form(self) -> Hashable:
        """The form of the flight's answer."""
        return self._flight.form

    async def head(self) -> Head:
        """Wait for the answer's head and return it.

        If the flight failed, raises the flight's error.
        """
        head = await self._flight.head(self)
        if not self.collapsed or head.cache_status.forward is None:
            return head
        return replace(
            head,
            # Cookies are only for the client whose request was forwarded.
            headers=[header for header in head.headers if header[0] != b"set-cookie"],
            cache_status=replace(head.cache_status, collapsed=True),
        )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._flight.read(self):
            yield piece

    async def result(self) -> SharedAnswer | None:
        """Skip the body, wait for the complete answer and return it.

        Return None if the answer cannot be shared.
        """
        return await self._flight.result(self)

    async def aclose(self) -> None:
        """Leave the flight. Further calls have no effect."""
        self._flight.leave(self)

    def cut_off(self) -> None:
        """Stop this reader. From now on, reading the body raises UpstreamInterrupted."""
        self.is_cut_off = True
        self.wake()

    def wake(self) -> None:
        """Tell this reader that the flight has changed. A running call of `wait` returns."""
        self._changed.set()

    async def wait(self) -> None:
        """Wait until the flight changes."""
        self._changed.clear()
        await self._changed.wait()


class Flights:
    """The running flights, by key. The class `Flight` explains the parameters."""

    def __init__(
        self, window: int, *, finish: bool = False, inflight: Inflight | None = None
    ) -> None:
        self._window = window
        self._finish = finish
        self._inflight = inflight
        self._flights: dict[Hashable, Flight] = {}
        self._started: set[Flight] = set()  # keeps flights alive that have no readers

    def join(
        self, key: Hashable, fill: Fill, form: Hashable = None, others: Iterable[Hashable] = ()
    ) -> Follower:
        """Return a new reader of the running flight with the key `key` or a key in `others`.

        If no such flight can be joined, start a flight with the key `key` and the form `form`.
        """
        for name in (key, *others):
            flight = self._flights.get(name)
            if flight is not None and flight.joinable:
                return flight.join(collapsed=True)
        flight = self._start(fill, form)
        self._flights[key] = flight
        flight.on_end(lambda: self._forget(key, flight))
        return flight.join()

    def alone(self, fill: Fill) -> Follower:
        """Start a flight that nobody else can join, and return the flight's reader."""
        return self._start(fill, None).join()

    async def aclose(self) -> None:
        """Wait for running flights, and cancel those that take longer than five seconds."""
        await see_out([flight.task for flight in self._started])

    def _start(self, fill: Fill, form: Hashable) -> Flight:
        flight = Flight(fill, self._window, form=form, finish=self._finish, inflight=self._inflight)
        self._started.add(flight)
        flight.on_end(lambda: self._started.discard(flight))
        return flight

    def _forget(self, key: Hashable, flight: Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


async def see_out(tasks: Collection["asyncio.Future[None]"]) -> None:
    """Wait for tasks at shutdown, and cancel those that take longer than five seconds."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=_CLOSING_SECONDS)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
