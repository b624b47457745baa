import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import Overloaded
from app.core.models import Kind
from app.stores.sqlite import commits
from app.stores.sqlite.commits import Commits
from app.stores.sqlite.journal import Append, Change, Journal, Remove, Row
from tests.fakes import ManualClock

CHAT = Kind.ANSWER


class HeldJournal(Journal):
    """A journal whose commits can be held up, or fail."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        super().__init__(path, connection)
        self.groups: list[list[Change]] = []
        self.begun, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def write(self, changes: Iterable[Change]) -> None:
        self.groups.append(list(changes))
        self.begun.set()
        self.gate.wait()
        if self.error is not None:
            raise self.error
        super().write(self.groups[-1])


class Kept:
    """Commits of rows, with a set in place of the store's memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.memory: set[str] = set()
        self.journal = HeldJournal.open(path, ManualClock())
        self.commits = Commits(self.journal, lambda _, digest: digest in self.memory)

    async def put(self, digest: str) -> str:
        async def remember() -> str:
            self.memory.add(digest)
            return digest

        row = Row(CHAT, digest, 2e9, self.journal.epoch, b"")
        return await self.commits.commit(Append([row]), remember)

    async def remove(self, digest: str) -> str:
        async def forget() -> str:
            self.memory.discard(digest)
            return digest

        return await self.commits.commit(Remove([(CHAT, digest)]), forget)

    def leave(self, digest: str) -> None:
        self.memory.discard(digest)
        self.commits.drop(CHAT, digest)

    @asynccontextmanager
    async def held_up(self) -> AsyncIterator["asyncio.Task[str]"]:
        """Delay the commit of a first row until the end of the block. Yield the waiting task."""
        self.journal.begun.clear()
        self.journal.gate.clear()
        first = await begin(self.put("first"))
        await asyncio.to_thread(self.journal.begun.wait)
        yield first
        self.journal.gate.set()
        await asyncio.wait({first})

    async def in_file(self) -> list[str]:
        """Close the commits, and return the digests in the file."""
        await self.commits.aclose()
        journal = Journal.open(self.path, ManualClock())
        digests = [row.digest for row in journal.rows()]
        journal.close()
        return digests


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "cache.db")


async def begin(work: Coroutine[Any, Any, str]) -> "asyncio.Task[str]":
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_what_waits_for_a_commit_goes_into_the_next_one(kept: Kept) -> None:
    async with kept.held_up():
        tasks = [await begin(kept.put(name)) for name in "abcd"]
        assert kept.memory == set()
    assert await asyncio.gather(*tasks) == ["a", "b", "c", "d"]
    assert [len(group) - 1 for group in kept.journal.groups] == [1, 4]  # and what memory lacks
    assert await kept.in_file() == ["first", "a", "b", "c", "d"]


async def test_changes_happen_in_their_order(kept: Kept) -> None:
    async with kept.held_up():
        tasks = [
            await begin(work)
            for work in (kept.put("a"), kept.put("b"), kept.remove("a"), kept.remove("b"))
        ]
        tasks.append(await begin(kept.put("b")))
    await asyncio.gather(*tasks)
    assert kept.memory == {"first", "b"}
    assert await kept.in_file() == ["first", "b"]


async def test_what_leaves_memory_leaves_the_file(kept: Kept) -> None:
    await kept.put("a")
    await kept.put("b")
    kept.leave("a")
    await kept.put("c")
    assert await kept.in_file() == ["b", "c"]


async def test_what_left_memory_last_leaves_the_file_at_the_end(kept: Kept) -> None:
    await kept.put("a")
    kept.leave("a")
    assert await kept.in_file() == []


async def test_what_leaves_memory_while_it_is_written_again_stays(kept: Kept) -> None:
    await kept.put("first")
    async with kept.held_up():
        kept.leave("first")
    await kept.put("a")
    assert await kept.in_file() == ["first", "a"]


async def test_much_that_leaves_at_once_leaves_bit_by_bit(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "_DROPPED_AT_ONCE", 2)
    for name in "abcde":
        await kept.put(name)
    for name in "abcd":
        kept.leave(name)
    await kept.put("f")
    assert await kept.in_file() == ["e", "f"]
    removals = [group[0] for group in kept.journal.groups]
    assert removals[-2:] == [Remove([(CHAT, "a"), (CHAT, "b")]), Remove([(CHAT, "c"), (CHAT, "d")])]


async def test_a_failed_commit_fails_all_of_its_group_and_changes_nothing(kept: Kept) -> None:
    await kept.put("old")
    kept.leave("old")
    kept.journal.error = sqlite3.OperationalError("database or disk is full")
    async with kept.held_up() as first:
        tasks = [first, *[await begin(kept.put(name)) for name in "ab"]]
    for task in tasks:
        with pytest.raises(sqlite3.OperationalError):
            await task
    assert kept.memory == set()
    kept.journal.error = None
    await kept.put("c")
    assert await kept.in_file() == ["c"]


async def test_what_nobody_waits_for_any_longer_is_done_if_it_has_begun(kept: Kept) -> None:
    async with kept.held_up() as begun:
        waiting = await begin(kept.put("a"))
        begun.cancel()
        waiting.cancel()
        await asyncio.wait({begun, waiting})
    await kept.put("b")
    assert kept.memory == {"first", "b"}
    assert await kept.in_file() == ["first", "b"]


async def test_what_fails_in_memory_fails_alone(kept: Kept) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async with kept.held_up():
        tasks = [
            asyncio.create_task(kept.commits.commit(Remove([]), fail)),
            await begin(kept.put("a")),
        ]
    with pytest.raises(ZeroDivisionError):
        await tasks[0]
    assert await tasks[1] == "a"
    assert await kept.in_file() == ["first", "a"]


async def test_more_than_a_commit_can_hold_is_refused(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "_MOST_WAITING", 1)
    async with kept.held_up():
        waiting = await begin(kept.put("a"))
        with pytest.raises(Overloaded):
            await kept.put("b")
    await waiting
    await kept.put("c")
    assert await kept.in_file() == ["first", "a", "c"]


async def test_closing_writes_what_is_pending(kept: Kept) -> None:
    async with kept.held_up():
        waiting = await begin(kept.put("a"))
        closing = asyncio.create_task(kept.commits.aclose())
    await closing
    assert await waiting == "a"
    journal = Journal.open(kept.path, ManualClock())
    assert [row.digest for row in journal.rows()] == ["first", "a"]
    journal.close()
