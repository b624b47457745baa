"""Keeps the indexes small: opens and retires generations, and removes entries after a purge.

This work runs in the background, in small steps, on any proxy. If a proxy ends in the middle,
another proxy finishes the work.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial

from app.core.epochs import is_dead
from app.core.errors import Declined, DependencyFailed
from app.stores.valkey.chores import Chores
from app.stores.valkey.client import Refused, Reply, Server, checked
from app.stores.valkey.entries import (
    copy_of,
    epoch_in,
    read_copy,
    read_embedding,
    read_epoch,
)
from app.stores.valkey.generations import Generations
from app.stores.valkey.keys import ALL_EMBEDDINGS, ALL_ENTRIES
from app.stores.valkey.lease import RENEW
from app.stores.valkey.search import (
    Fill,
    IndexOptions,
    Room,
    documents_in,
    is_missing,
    limit_in,
    may_retire,
    names_in,
    wants_successor,
)

_DISORDER = 256  # inserts; their counts may arrive out of order by up to this many
_CHECKS = 40  # how often a generation's state is checked while it fills
_LEASE = 15_000  # milliseconds
_SLICE = 200  # keys that one SCAN looks at
_COPIED_AT_ONCE = 16
_REST = 0.01  # seconds between steps
_RELIEF_PAUSE = 2.0  # seconds between two generations dropped because memory is full
_NODE_BYTES = 550  # bytes that an index needs for a vector in addition to the vector itself

_logger = logging.getLogger("reprise.store")


class Upkeep:
    """Opens, retires and cleans up the generations of one embedding model."""

    def __init__(
        self, connections: Server, generations: Generations, options: IndexOptions
    ) -> None:
        self._connections = connections
        self._generations = generations
        self._keys = generations.keys
        self._options = options
        self._chores = Chores()
        self._token = secrets.token_hex(8)
        self._next_relief = 0.0
        self._taken = (0, 0)  # the newest generation, and the highest count of its inserts seen

    def inserted(self, generation: int, inserts: int) -> None:
        """Record that this proxy has inserted an entry into a generation.

        `inserts` is the server's count of inserts, this insert included. The server returns each
        count to one proxy only. At certain counts, the proxy that got the count checks the
        generations.
        """
        number, most = self._taken
        most = most if generation == number else 0
        self._taken = (generation, max(most, inserts))
        if inserts < most // 2 and most > _DISORDER:  # the server has evicted its count
            restore = partial(self._count, generation, most)
            self._chores.begin("restoring the count of inserts", restore)
        if inserts % max(1, self._options.max_inserts // _CHECKS) == 0:
            self._chores.begin("maintaining the indexes", self._look_after)

    def relieve(self) -> None:
        """Start to drop the oldest generation, because the server's memory is full."""
        if time.monotonic() >= self._next_relief:
            self._next_relief = time.monotonic() + _RELIEF_PAUSE
            self._chores.begin("freeing memory of the server", self._drop_oldest)

    async def purge(self) -> None:
        """Make all entries unreadable for all proxies, and start to remove them."""
        await self._generations.known()
        await self._generations.begin_epoch()
        try:
            # The new epoch alone makes all entries unreadable, even those of a shard that is away.
            with suppress(Declined, DependencyFailed, TimeoutError):
                await self._begin_anew()
        finally:
            self._chores.begin("removing purged entries", self._clear)

    async def aclose(self) -> None:
        """Cancel all work that is running."""
        await self._chores.aclose()

    async def _look_after(self) -> None:
        """Open the next generation if one is needed. Retire old generations that may be dropped."""
        if not await self._lease(_LEASE):
            return  # another proxy is doing it
        numbers, fills, room = await self._fills()
        if not fills:
            return
        if wants_successor(fills, self._options, room):
            await self._generations.open(numbers[0] + 1)
            await self._generations.replace(numbers, (numbers[0] + 1, *numbers))
            numbers, fills, room = await self._fills()
        while may_retire(fills, room) and await self._retire(numbers):
            numbers, fills, room = await self._fills()
        await self._drop_strays()
        await self._lease(0)

    async def _count(self, generation: int, inserts: int) -> None:
        (reply,) = await self._connections.call(
            ("HINCRBY", self._keys.inserts, generation, inserts)
        )
        checked(reply)

    async def _lease(self, milliseconds: int) -> bool:
        """Take or renew the lease for the upkeep. Return whether this proxy has the lease.

        The lease ends `milliseconds` from now.
        """
        key = self._keys.lease
        taken, renewed = await self._connections.call(
            ("SET", key, self._token, "NX", "PX", _LEASE),
            ("EVAL", RENEW, 1, key, self._token, milliseconds),
        )
        checked(taken)
        return bool(checked(renewed))

    async def _fills(self) -> tuple[Sequence[int], list[Fill], Room]:
        """Return the living generations, how full each is, and a Room with the memory limit.

        Without valkey-search, the list of fills is empty. The server's list of generations may
        change before the caller uses the result; `Generations.replace` checks this.
        """
        numbers = await self._generations.known()
        memory, inserts, *infos = await self._connections.call(
            ("INFO", "memory"),
            ("HMGET", self._keys.inserts, *numbers),
            *(("FT.INFO", self._keys.index(number)) for number in numbers),
        )
        room = Room(4 * self._generations.dimensions + _NODE_BYTES, limit_in(memory))
        if any(isinstance(info, Exception) for info in infos):
            return numbers, [], room
        pairs = zip(checked(inserts), infos, strict=True)
        fills = [Fill(int(taken or 0), documents_in(info)) for taken, info in pairs]
        return numbers, fills, room

    async def _retire(self, numbers: Sequence[int]) -> bool:
        """Copy the living entries of the oldest generation into the newest, then drop the oldest.

        Return whether the oldest generation was dropped.
        """
        pattern = f"{self._keys.prefix(numbers[-1])}*"
        async for keys in self._found(pattern):
            for start in range(0, len(keys), _COPIED_AT_ONCE):
                await self._move(keys[start : start + _COPIED_AT_ONCE], numbers[0])
            if not await self._lease(_LEASE):
                return False
        return await self._drop(numbers, numbers[:-1])

    async def _move(self, keys: Sequence[str], newest: int) -> None:
        """Move the entries with these keys into the newest generation.

        If the newest generation already has an entry with the same digest, that entry is kept. Each
        entry is copied, then its original is removed. If the original is gone by then, because it
        was deleted, replaced or purged, the copy is removed, too.
        """
        replies = await self._connections.call(*(c for key in keys for c in read_copy(key)))
        copies = {
            key: copy
            for key, told, left in zip(keys, replies[::2], replies[1::2], strict=True)
            if (copy := copy_of(told, left, self._generations.epoch)) is not None
        }
        targets = {key: self._keys.entry(newest, self._keys.digest_of(key)) for key in keys}
        written = await self._connections.call(
            *(copy.write(targets[key]) for key, copy in copies.items()),
            ("HINCRBY", self._keys.inserts, newest, len(copies)),
        )
        are_copied = {key for key, reply in zip(copies, written, strict=False) if checked(reply)}
        removed = await self._connections.call(*(("UNLINK", key) for key in keys))
        orphans = [
            copies[key].remove(targets[key])
            for key, reply in zip(keys, removed, strict=True)
            if not checked(reply) and key in are_copied
        ]
        await self._connections.call(*orphans)

    async def _drop(self, before: Sequence[int], after: Sequence[int]) -> bool:
        """Drop the indexes of generations that are in `before` but not in `after`.

        After that, replace the server's list of generations by `after`, if the list is still
        `before`. Return whether the list was replaced.
        """
        gone = sorted(set(before) - set(after))
        drops = [("FT.DROPINDEX", self._keys.index(number)) for number in gone]
        is_replaced = await self._generations.replace(before, after, *drops)
        await self._connections.call(("HDEL", self._keys.inserts, *gone))
        return is_replaced

    async def _drop_strays(self) -> None:
        """Drop old indexes that are not in the list of generations.

        A proxy that ended early may leave such indexes.
        """
        (names,) = await self._connections.call(("FT._LIST",))
        numbers = self._generations.numbers
        strays = [
            name
            for name in names_in(names)
            if (number := self._keys.generation_of(name)) is not None
            and number < numbers[0]
            and number not in numbers
        ]
        await self._connections.call(*(("FT.DROPINDEX", name) for name in strays))

    async def _drop_oldest(self) -> None:
        """Drop the oldest generation with all of its entries."""
        numbers = await self._generations.known()
        oldest = numbers[-1]
        (dropped,) = await self._connections.call(("FT.DROPINDEX", self._keys.index(oldest)))
        if not is_missing(dropped):
            checked(dropped)
        removed = 0
        async for keys in self._found(f"{self._keys.prefix(oldest)}*"):
            removed += sum(await self._connections.call(*(("UNLINK", key) for key in keys)))
        _logger.warning(
            "Valkey had no memory left: dropped the oldest %d entries; "
            "raise its maxmemory to keep more",
            removed,
        )
        if len(numbers) > 1:
            await self._drop(numbers, numbers[:-1])
        else:
            await self._begin_anew()

    async def _begin_anew(self) -> None:
        """Replace all generations by a new one."""
        numbers = self._generations.numbers
        with suppress(Refused):
            await self._generations.open(numbers[0] + 1)
        await self._drop(numbers, (numbers[0] + 1,))

    async def _clear(self) -> None:
        """Remove entries that no look-up can find.

        No look-up finds an entry if its era (`core/epochs.py`) is over, or if its generation is no
        longer in the list.
        """
        async for keys in self._found(ALL_ENTRIES):
            replies = await self._connections.call(*map(read_epoch, keys))
            await self._remove_dead(keys, replies)
        async for keys in self._found(ALL_EMBEDDINGS):
            replies = await self._connections.call(*map(read_embedding, keys))
            await self._remove_dead(keys, list(map(epoch_in, replies)))

    async def _remove_dead(self, keys: Sequence[str], epochs: Sequence[Reply]) -> None:
        alive, epoch = self._generations.numbers, self._generations.epoch
        dead = [
            key
            for key, told in zip(keys, epochs, strict=True)
            # A key without an epoch is not ours, or it is damaged and will expire.
            if isinstance(told, bytes)
            and (
                is_dead(told.decode(errors="replace"), epoch)
                or self._keys.generation_in(key) not in (None, *alive)
            )
        ]
        await self._connections.call(*(("UNLINK", key) for key in dead))

    async def _found(self, pattern: str) -> AsyncIterator[list[str]]:
        """Yield the keys that match a pattern, in lists, with a short pause after each list."""
        cursor = b"0"
        while True:
            (reply,) = await self._connections.call(
                ("SCAN", cursor, "MATCH", pattern, "COUNT", _SLICE)
            )
            cursor, keys = checked(reply)
            yield [key.decode(errors="replace") for key in keys]
            if cursor == b"0":
                return
            await asyncio.sleep(_REST)
