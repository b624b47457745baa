"""Commits changes to a journal. All changes that arrive during one commit form the next commit."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from app.core.errors import Overloaded
from app.core.models import Kind
from app.core.offload import Threads
from app.stores.sqlite.journal import Add, Amend, Append, Change, Journal, Remove

T = TypeVar("T")

_MOST_WAITING = 1024  # changes; a commit of this many takes about 50 ms
_DROPPED_AT_ONCE = 1000  # rows of evicted entries removed by one commit, so that it stays short


@dataclass(frozen=True, slots=True)
class _Waiting:
    change: Change
    then: Callable[[], Awaitable[Any]]
    done: "asyncio.Future[Any]"


class Commits:
    """Commits changes to `journal` in the order of the calls, in one thread.

    `is_kept(kind, digest)` says whether memory contains an entry. If an evicted entry has been
    stored again, its row is not removed.
    """

    def __init__(self, journal: Journal, is_kept: Callable[[Kind, str], bool]) -> None:
        self._journal = journal
        self._is_kept = is_kept
        self._threads = Threads("journal", 1, 1)
        self._waiting: list[_Waiting] = []
        self._dropped: dict[tuple[Kind, str], None] = {}
        self._writing: asyncio.Task[None] | None = None

    async def commit(self, change: Change, then: Callable[[], Awaitable[T]]) -> T:
        """Commit a change to the journal, then call `then` to make the change in memory.

        Return the result of `then`. Changes are made in the order of the calls, even if a caller
        is cancelled. Raises Overloaded if too many changes are waiting. If the commit fails,
        nothing changes and sqlite3.Error is raised.
        """
        if len(self._waiting) >= _MOST_WAITING:
            raise Overloaded
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(change, then, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await done

    def drop(self, kind: Kind, digest: str) -> None:
        """Record that memory has evicted an entry. A later commit removes the entry's row."""
        self._dropped[kind, digest] = None

    async def aclose(self) -> None:
        """Commit pending changes, then close the journal."""
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await self._writing
        await self._threads.run(self._journal.close)
        self._threads.shutdown()

    async def _write(self) -> None:
        try:
            while self._waiting or self._dropped:
                waiting, self._waiting = self._waiting, []
                group = [one for one in waiting if not one.done.done()]
                gone = self._take_dropped()
                changes = [Remove(gone), *(one.change for one in group)]
                try:
                    await self._threads.run(partial(self._journal.write, changes))
                except Exception as error:  # noqa: BLE001 - raised to whoever awaits the change
                    self._dropped.update(dict.fromkeys(gone))
                    for one in group:
                        await self._after(one, error)
                    if not group and not self._waiting:
                        return  # rows of evicted entries can be removed later
                else:
                    for one in group:
                        await _finish(one)
        finally:
            self._writing = None

    async def _after(self, one: _Waiting, error: Exception) -> None:
        """Handle a change whose commit failed with `error`.

        For Append, Amend and Add, the caller of `commit` gets `error`. Other changes are tried
        again with `Journal.remove`.
        """
        change = one.change
        if isinstance(change, Append | Amend | Add):
            _fail(one.done, error)
            return
        try:
            await self._threads.run(partial(self._journal.remove, change))
        except Exception as again:  # noqa: BLE001 - raised to whoever awaits the change
            _fail(one.done, again)
        else:
            await _finish(one)

    def _take_dropped(self) -> list[tuple[Kind, str]]:
        # Between two commits, memory contains all committed entries, except those it evicted.
        keys = list(islice(self._dropped, _DROPPED_AT_ONCE))
        for key in keys:
            del self._dropped[key]
        return [key for key in keys if not self._is_kept(*key)]


async def _finish(one: _Waiting) -> None:
    try:
        result = await one.then()
    except Exception as error:  # noqa: BLE001 - raised to whoever awaits the change
        _fail(one.done, error)
    else:
        if not one.done.done():
            one.done.set_result(result)


def _fail(done: "asyncio.Future[Any]", error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
