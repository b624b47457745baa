"""The indexes of all databases, kept up to date with the real hashes."""

import asyncio
from pathlib import Path

from tests.valkey.admin import Admin, Command
from tests.valkey.ballast import Ballast
from tests.valkey.errors import SearchError
from tests.valkey.index import Index
from tests.valkey.resp import Failure, Reply
from tests.valkey.schema import Definition
from tests.valkey.switches import Switches

_ENDS = {b"del", b"expired", b"evicted", b"rename_from", b"move_from"}
_AT_ONCE = 500  # hashes that are read at once
_GONE = -2  # PEXPIRETIME of a missing key
_MOMENT = 0.005


class Catalog:
    """Knows every index, and all changes to the hashes that they cover.

    After `catch_up`, every write that the real server executed before the call is indexed.
    """

    def __init__(self, switches: Switches) -> None:
        self.admin = Admin(self._on_event, self._on_flush)
        self.indexes: dict[tuple[int, bytes], Index] = {}
        self.flushing: int | None = None  # the database that FLUSHDB was last sent to
        self._switches = switches
        self._changed: set[tuple[int, bytes]] = set()
        self._has_changed = asyncio.Event()
        self._reading = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ballast: Ballast | None = None
        self.defects: list[BaseException] = []

    async def open(self, path: Path, *, has_limit: bool, is_node: bool = False) -> None:
        """Connect to a server that has just started, with the indexes that it still has.

        `has_limit`: the server's memory is limited, so the memory of indexes must count. `is_node`:
        the server is a node of a cluster.
        """
        await self.admin.open(path, is_node=is_node)
        self._ballast = Ballast(path) if has_limit else None
        self._changed.clear()
        self._run(self._keep_up())
        for (database, name), lost in list(self.indexes.items()):
            index = self.indexes[database, name] = Index(lost.definition, backfilled=1.0)
            self._changed.update((database, key) for key in await self._scan(database, index))
        await self.settle()

    async def aclose(self) -> None:
        """Disconnect."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.admin.aclose()
        if self._ballast is not None:
            await self._ballast.aclose()

    async def create(self, database: int, definition: Definition) -> None:
        """Add an index and begin to index existing hashes. Raises SearchError if it exists."""
        if (database, definition.name) in self.indexes:
            raise SearchError("already exists.")
        index = Index(definition, backfilled=0.0 if definition.initial_scan else 1.0)
        self.indexes[database, definition.name] = index
        if definition.initial_scan:
            self._run(self._backfill(database, index))

    async def drop(self, database: int, name: bytes) -> None:
        """Remove an index, and release its memory."""
        del self.indexes[database, name]
        await self._weigh()

    async def catch_up(self) -> None:
        """Index all changes that the real server has made so far."""
        if self.indexes:
            await self.admin.call(("PING",))
            await self.settle()

    async def look_again(self) -> None:
        """Index changes for which there was no event: the keys of slots that moved all at once."""
        for (database, _), index in self.indexes.items():
            keys = {*index.documents, *await self._scan(database, index)}
            self._changed.update((database, key) for key in keys)
        await self.settle()

    async def settle(self) -> None:
        """Index the keys that are known to have changed."""
        async with self._reading:
            while self._changed:
                batch = [self._changed.pop() for _ in range(min(_AT_ONCE, len(self._changed)))]
                await self._read(batch)
                await self._weigh()

    def _run(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ConnectionError):
            self.defects.append(error)

    async def _keep_up(self) -> None:
        while True:
            await self._has_changed.wait()
            self._has_changed.clear()
            await self.settle()

    async def _weigh(self) -> None:
        if self._ballast is not None:
            await self._ballast.hold(sum(index.memory for index in self.indexes.values()))

    def _over(self, database: int, key: bytes) -> list[Index]:
        return [
            index
            for (other, _), index in self.indexes.items()
            if other == database and index.definition.covers(key)
        ]

    def _on_event(self, database: int, key: bytes, event: bytes) -> None:
        if not (indexes := self._over(database, key)):
            return
        if event in _ENDS:
            for index in indexes:
                index.remove(key)
        self._changed.add((database, key))
        self._has_changed.set()

    def _on_flush(self) -> None:
        database, self.flushing = self.flushing, None
        for place in list(self.indexes):
            if database is None or place[0] == database:
                del self.indexes[place]
        self._has_changed.set()

    async def _read(self, batch: list[tuple[int, bytes]]) -> None:
        wanted = [
            (database, key, index) for database, key in batch for index in self._over(database, key)
        ]
        commands: list[Command] = []
        for database, key, index in wanted:
            commands += [
                ("SELECT", database),
                ("PEXPIRETIME", key),
                ("HMGET", key, *index.identifiers),
            ]
        replies = iter(await self.admin.call(*commands))
        for (_, key, index), _, expires_at, values in zip(
            wanted, replies, replies, replies, strict=True
        ):
            if expires_at == _GONE or isinstance(expires_at, Failure):  # another node has it
                index.remove(key)
            elif not isinstance(values, Failure):  # not a hash: what was indexed stays
                fields = dict(zip(index.identifiers, values, strict=True))
                index.put(key, fields, expires_at)

    async def _scan(self, database: int, index: Index) -> list[bytes]:
        keys: list[bytes] = []
        cursor: Reply = b"0"
        while True:
            ((cursor, found),) = await self.admin.call_in(
                database, ("SCAN", cursor, "COUNT", 1000, "TYPE", "hash")
            )
            keys += filter(index.definition.covers, found)
            if cursor == b"0":
                return keys

    async def _backfill(self, database: int, index: Index) -> None:
        keys = await self._scan(database, index)
        await asyncio.sleep(self._switches.backfill_seconds)
        done = 0
        while True:
            share = self._switches.backfill_share
            goal = round(len(keys) * min(share, 1))
            # Keys written meanwhile are indexed already; reading them again could let them expire.
            missing = (key for key in keys[done:goal] if key not in index.documents)
            self._changed.update((database, key) for key in missing)
            await self.settle()
            done = max(done, goal)
            index.backfilled = done / len(keys) if keys else min(share, 1)
            if share >= 1:
                break
            await asyncio.sleep(_MOMENT)
        index.is_ready = True
