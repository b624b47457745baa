"""The list of living generations and the current epoch. Every look-up needs both.

Both are stored in the server. This module keeps a copy of the values that it last read. The server
may lack the list, the epoch or an index because it is new, was flushed or lost data. In this case,
the missing data are created again.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Collection, Sequence
from contextlib import suppress

from app.core.errors import Declined, DependencyFailed
from app.stores.valkey.client import Command, Refused, Reply, Server, checked
from app.stores.valkey.keys import EPOCH, Keys, generations_in, listed
from app.stores.valkey.search import (
    IndexOptions,
    create_index,
    is_not_loaded,
    is_there_already,
    names_in,
)

_PAUSE = 1.0  # seconds between attempts to create what is missing
_REPLICATION = 200  # milliseconds to wait until a replica has received a purge

# Replace the list only if it still has the expected value.
_REPLACE_LIST = """#!lua
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

# Like `epochs.next_turn`, but atomic, so that it does not undo a purge of everything.
_BEGIN_TURN = """#!lua
local era = string.match(redis.call('GET', KEYS[1]) or '', '^[^.]+')
if not era then return false end
local epoch = era .. '.' .. ARGV[1]
redis.call('SET', KEYS[1], epoch)
return epoch
"""

_logger = logging.getLogger("reprise.store")


class SearchUnavailable(Exception):
    """The server has no index to search and cannot create one. The reason is in the log."""


class Generations:
    """The living generations of one embedding model's entries, newest first, and the epoch.

    `token` is the epoch that was last read or set; it is empty if the server had none. `epoch` is
    the last value of `token` that was not empty.
    """

    def __init__(
        self, connections: Server, keys: Keys, dimensions: int, options: IndexOptions
    ) -> None:
        self._connections = connections
        self.keys = keys
        self.dimensions = dimensions
        self._options = options
        self._mending: asyncio.Task[None] | None = None
        self._next_mending = 0.0
        self._problem = ""
        self.numbers: tuple[int, ...] = ()
        self.epoch = secrets.token_hex(8)  # a token that is unused, so nothing is stored with it
        self.token = ""

    @property
    def state(self) -> tuple[Command, Command]:
        """The commands that read the list of generations and the epoch from the server.

        Pass the replies to `note`. Send these commands last in a pipeline, so that a purge during
        the pipeline is noticed.
        """
        return ("GET", self.keys.generations), ("GET", EPOCH)

    async def known(self) -> tuple[int, ...]:
        """Return the living generations. If they are not known, read or create them first.

        Raises the same errors as `Server.call`.
        """
        if not self.numbers and self._mending is None:
            self._begin_mending()
        if self._mending is not None:
            await asyncio.shield(self._mending)
        return self.numbers

    def note(self, numbers: Reply, epoch: Reply) -> bool:
        """Update the generations and the epoch from the replies to the commands of `state`.

        Return False if the server's list has a generation that this object did not know before the
        call, else True.
        """
        token = checked(epoch)
        # While the list's shard is away, the last known list is used: the epoch decides validity.
        is_away = isinstance(numbers, Declined | DependencyFailed)
        told = self.numbers if is_away else generations_in(checked(numbers))
        self.token = token.decode() if token else ""
        if not told or not token:
            self.mend()
            return True
        self.epoch = self.token
        is_covered = set(told) <= set(self.numbers)
        self.numbers = told
        return is_covered

    def mend(self) -> None:
        """Start to create the data that the server lacks, unless an attempt failed a moment ago."""
        if self._mending is None and time.monotonic() >= self._next_mending:
            self._begin_mending()

    def missing(self) -> None:
        """Start to create a missing index, unless an attempt failed a moment ago.

        Raises SearchUnavailable if the last attempt failed and no new one is running.
        """
        self.mend()
        if self._problem and self._mending is None:
            raise SearchUnavailable

    async def open(self, number: int) -> None:
        """Create the index of a generation, if there is none.

        Raises Refused if the server refuses.
        """
        (reply,) = await self._connections.call(self._create(number))
        if not is_there_already(reply):
            checked(reply)

    async def replace(self, before: Sequence[int], after: Sequence[int], *also: Command) -> bool:
        """Replace the server's list of generations by `after`, if the list is still `before`.

        Return whether the list was replaced. The commands in `also` are sent just before the
        replacement, in the same pipeline. So other proxies rarely see the effect of these commands
        while the list is still the old one.
        """
        key, lists = self.keys.generations, (listed(before), listed(after))
        *_, reply = await self._connections.call(*also, ("EVAL", _REPLACE_LIST, 1, key, *lists))
        if checked(reply) == 1:
            self.numbers = tuple(after)
            return True
        return False

    async def begin_epoch(self) -> None:
        """Begin a new era (`core/epochs.py`) for all proxies.

        If there are replicas, wait a moment until one of them has received the new epoch.
        Otherwise, a failover might bring the old epoch back.
        """
        token = secrets.token_hex(8)
        commands: list[Command] = [("SET", EPOCH, token)]
        if self._connections.has_replicas:
            commands.append(("WAIT", 1, _REPLICATION))
        reply, *_ = await self._connections.call(*commands)
        checked(reply)
        self.token = self.epoch = token

    async def advance_epoch(self) -> None:
        """Begin a new turn of the current era (`core/epochs.py`) for all proxies.

        Raises Refused if the server has no epoch.
        """
        await self.known()
        (reply,) = await self._connections.call(
            ("EVAL", _BEGIN_TURN, 1, EPOCH, secrets.token_hex(8))
        )
        if checked(reply) is None:
            raise Refused("the server has no epoch")
        self.token = self.epoch = reply.decode()

    async def aclose(self) -> None:
        """Cancel the background task that creates the missing data."""
        if self._mending is not None:
            self._mending.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._mending

    def _begin_mending(self) -> None:
        self._mending = asyncio.create_task(self._mend())
        self._mending.add_done_callback(self._mended)

    def _mended(self, task: asyncio.Task[None]) -> None:
        self._mending = None
        if not task.cancelled() and (task.exception() is not None or self._problem):
            self._next_mending = time.monotonic() + _PAUSE

    async def _mend(self) -> None:
        key = self.keys.generations
        numbers, indexes = await self._connections.call(("GET", key), ("FT._LIST",))
        there = {self.keys.generation_of(name) for name in names_in(indexes)} - {None}
        # If there is no list and no index, the server is empty or was flushed. Otherwise only the
        # token was evicted.
        token = self.epoch if checked(numbers) or there else secrets.token_hex(8)
        written, epoch = await self._connections.call(("SET", EPOCH, token, "NX"), ("GET", EPOCH))
        if checked(epoch) is None:
            checked(written)  # raises the error that kept the token from being written
            raise Refused("the server did not keep the epoch")
        alive = generations_in(checked(numbers))
        if not alive:
            # There are indexes but no list: the list was evicted or lost.
            alive = tuple(sorted((n for n in there if n is not None), reverse=True)) or (1,)
        await self._create_all(alive, there)
        if checked(numbers) is None:
            written, numbers = await self._connections.call(
                ("SET", key, listed(alive), "NX"), ("GET", key)
            )
            if not (alive := generations_in(checked(numbers))):
                checked(written)
                raise Refused("the server did not keep the list of generations")
        self.token = self.epoch = epoch.decode()
        self.numbers = alive

    async def _create_all(self, numbers: Sequence[int], there: Collection[int | None]) -> None:
        """Create the indexes of generations. If the server refuses, only exact matches work.

        `there` contains the generations whose index was found. Commands are sent for these, too,
        because some nodes of a cluster may lack the index.
        """
        problem = ""
        replies = await self._connections.call(*map(self._create, numbers))
        for number, reply in zip(numbers, replies, strict=True):
            if number in there or is_there_already(reply):
                continue
            if isinstance(reply, Exception):
                problem = "not loaded" if is_not_loaded(reply) else type(reply).__name__
        if problem and problem != self._problem:
            _logger.error(
                "only exact matches are served: %s",
                "the module valkey-search is not loaded in the server; load it (loadmodule "
                "libsearch.so), or run the image valkey/valkey-bundle"
                if problem == "not loaded"
                else f"the server cannot create the index ({problem})",
            )
        self._problem = problem

    def _create(self, number: int) -> Command:
        keys = self.keys
        return create_index(keys.index(number), keys.prefix(number), self.dimensions, self._options)
