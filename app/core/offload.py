"""A few threads for work that would block the event loop for too long."""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from app.core.errors import Overloaded

T = TypeVar("T")

_REMEMBERED = 8  # the usual duration is a moving average over about this many pieces of work

_LARGE = 262_144  # bytes; parsing that many takes some 10 ms


class Threads:
    """Runs pieces of work in `count` threads. A piece that would wait too long is refused.

    A piece of work is refused if `queue` pieces are waiting already. It is also refused if it would
    probably wait longer than `patience` seconds. This wait is estimated from the durations of
    recent pieces. Without these limits, threads would do work for callers that have given up, and
    all other callers would wait longer.

    `name` is the beginning of the names of the threads.
    """

    def __init__(self, name: str, count: int, queue: int, patience: float = math.inf) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._count = count
        self._room = count + queue
        self._most = count + queue
        self._patience = patience
        self._usual = 0.0  # moving average of the seconds that a piece takes

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread and return its result.

        Raises Overloaded if the work is refused.
        """
        ahead = self._most - self._room
        if self._room <= 0 or ahead // self._count * self._usual > self._patience:
            raise Overloaded
        loop = asyncio.get_running_loop()

        def timed() -> T:
            begin = time.perf_counter()
            try:
                return work()
            finally:
                _call_in(loop, self._note, time.perf_counter() - begin)

        future = self._executor.submit(timed)
        self._room -= 1
        # The place is free again once the thread is, even if the caller gave up earlier.
        future.add_done_callback(lambda _: _call_in(loop, self._leave))
        return await asyncio.wrap_future(future)

    def _note(self, seconds: float) -> None:
        self._usual += (seconds - self._usual) / _REMEMBERED

    def _leave(self) -> None:
        self._room += 1

    def shutdown(self) -> None:
        """Stop the threads after their current work; cancel work that has not begun."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _call_in(loop: asyncio.AbstractEventLoop, act: Callable[..., None], *arguments: float) -> None:
    """Call `act` in an event loop. Do nothing if the loop is closed already."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(act, *arguments)


async def by_size(size: int, work: Callable[[], T]) -> T:
    """Call `work` and return its result.

    `size` is the number of bytes that `work` processes. If `size` is so large that `work` would
    block the event loop, `work` is called in a thread.
    """
    return work() if size < _LARGE else await asyncio.to_thread(work)
