"""A few threads for work that would hold the event loop up."""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app.core.errors import Overloaded

T = TypeVar("T")

_REMEMBERED = 8  # pieces of work, roughly

_LARGE = 262_144  # bytes; parsing that many takes some 10 ms


class Threads:
    """Runs work in `count` threads, and refuses work that would have to wait for too long.

    That is if `queue` pieces are waiting already, or if those would take more than `patience`
    seconds, judged by how long the latest pieces took. Work that is refused costs nothing; work
    that is begun after its caller has given up delays everybody else.
    """

    def __init__(self, name: str, count: int, queue: int, patience: float = math.inf) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._count = count
        self._room = count + queue
        self._most = count + queue
        self._patience = patience
        self._usual = 0.0  # seconds that a piece takes

    async def run(self, work: Callable[[], T]) -> T:
        """Run a piece of work. Raises Overloaded if there is no room for it."""
        ahead = self._most - self._room
        if self._room <= 0 or ahead // self._count * self._usual > self._patience:
            raise Overloaded
        loop = asyncio.get_running_loop()

        def timed() -> T:
            begin = time.perf_counter()
            try:
                return work()
            finally:
                loop.call_soon_threadsafe(self._note, time.perf_counter() - begin)

        future = self._executor.submit(timed)
        self._room -= 1
        # Not when nobody waits for the work any longer, but when the thread is free again.
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._leave))
        return await asyncio.wrap_future(future)

    def _note(self, seconds: float) -> None:
        self._usual += (seconds - self._usual) / _REMEMBERED

    def _leave(self) -> None:
        self._room += 1

    def shutdown(self) -> None:
        """Let the threads go; work that has not begun never will."""
        self._executor.shutdown(wait=False, cancel_futures=True)


async def by_size(size: int, work: Callable[[], T]) -> T:
    """Do work on `size` bytes: at once, or in a thread if it would hold the event loop up."""
    return work() if size < _LARGE else await asyncio.to_thread(work)
