"""A relay between a client and the real server, which answers the commands of valkey-search itself.

All other commands are passed on. In place of a command of the module, the server gets a HELLO, so
that the command keeps its turn, waits for a server that hangs, is queued in a transaction, and is
refused to a client that has not logged in. The reply to HELLO names the client. Commands after it
wait until it is answered.
"""

import asyncio
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.valkey.module import SearchModule
from tests.valkey.resp import Failure, Push, Reply, Simple, Stream, command, encode

_HELLO = command("HELLO")
_NOT_KNOWN = b"NOAUTH Authentication required."
_UNPAIRED = {b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"MONITOR"}
_REPLICATES = {(b"PSYNC",), (b"SYNC",), (b"CLUSTER", b"SYNCSLOTS")}
# Writes, which are answered once they are indexed; later in a transaction.
_WRITES = {b"HSET", b"HMSET", b"HSETEX", b"HDEL", b"DEL", b"UNLINK"}
_CHUNK = 1 << 18


class _Asked(NamedTuple):
    """A command, answered by the server; or by the relay, after the server answered a HELLO."""

    words: list[bytes]
    is_ours: bool

    @property
    def name(self) -> bytes:
        return self.words[0].upper()


class Relay:
    """One client's connection and the server's end of it."""

    def __init__(
        self,
        module: SearchModule,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._module = module
        self._from_client, self._to_client = client
        self._ways: list[asyncio.Task[None]] = []
        self._requested: asyncio.Queue[tuple[list[bytes], bytes]] = asyncio.Queue()
        self._asked: deque[_Asked] = deque()
        self._queued: list[_Asked] | None = None  # commands of a transaction
        self._database = 0
        self._has_written = False
        self._is_paired = True  # one reply to each command
        self._is_between_servers = False  # which the relay passes on unread
        self._turn = asyncio.Event()  # is set while the next command may go to the server
        self._turn.set()

    async def run(self, path: Path) -> None:
        """Relay until one side closes."""
        try:
            self._from_server, self._to_server = await asyncio.open_unix_connection(path)
        except OSError:
            self.abort()
            return
        ways = (self._requests(), self._turns(), self._replies())
        self._ways = [asyncio.create_task(way) for way in ways]
        try:
            done, _ = await asyncio.wait(self._ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                if not way.cancelled():
                    way.result()
        finally:
            self._cancel()
            await asyncio.gather(*self._ways, return_exceptions=True)
            self._to_server.close()
            self._to_client.close()

    def abort(self) -> None:
        """Break the client's connection."""
        self._to_client.transport.abort()
        self._cancel()

    def _cancel(self) -> None:
        for way in self._ways:
            way.cancel()

    async def _requests(self) -> None:
        # Reads even while commands wait, to notice when the client leaves.
        stream = Stream()
        with suppress(OSError):
            while data := await self._from_client.read(_CHUNK):
                if self._is_between_servers:
                    self._requested.put_nowait(([], data))
                    continue
                for words, raw in stream.feed(data):
                    names = tuple(word.upper() for word in words)
                    if names[:1] in _REPLICATES or names[:2] in _REPLICATES:
                        self._is_between_servers, self._is_paired = True, False
                    self._requested.put_nowait((words, raw))

    async def _turns(self) -> None:
        with suppress(OSError):
            while True:
                self._to_server.write(self._request(*await self._requested.get()))
                await self._to_server.drain()
                await self._turn.wait()

    def _request(self, words: list[bytes], raw: bytes) -> bytes:
        if not words:
            return raw  # an empty line, which is not answered
        asked = _Asked(words, self._module.answers(words))
        if asked.name in _UNPAIRED:
            self._is_paired = False
        if self._is_paired:
            self._asked.append(asked)
            if asked.is_ours or asked.name == b"EXEC":
                self._turn.clear()
        match [asked.name, *words[1:]]:
            case _ if asked.is_ours:
                return _HELLO
            case [b"SELECT", database] if database.isdigit():
                self._database = int(database)
            case [b"FLUSHDB", *_]:
                self._module.catalog.flushing = self._database
            case [b"FLUSHALL", *_]:
                self._module.catalog.flushing = None
            case [b"ACL", setuser, user, *rules] if setuser.upper() == b"SETUSER":
                return command(*words[:3], *self._module.grants.learn(user, rules))
        return raw

    async def _replies(self) -> None:
        stream = Stream()
        with suppress(OSError):
            while data := await self._from_server.read(_CHUNK):
                if self._is_between_servers:
                    self._to_client.write(data)
                    await self._to_client.drain()
                    continue
                self._has_written = False
                replies = [await self._reply(*reply) for reply in stream.feed(data)]
                if self._has_written:
                    await self._module.catalog.catch_up()
                self._to_client.write(b"".join(replies))
                await self._to_client.drain()
                if not self._asked:
                    self._turn.set()

    async def _reply(self, reply: Reply, raw: bytes) -> bytes:
        if isinstance(reply, Push) or not self._asked:
            return raw
        asked = self._asked.popleft()
        if self._queued is not None:
            return await self._in_transaction(self._queued, asked, (reply, raw))
        if asked.is_ours:
            return encode(await self._answer(asked, reply))
        self._has_written = self._has_written or asked.name in _WRITES
        if asked.name == b"MULTI" and reply == Simple(b"OK"):
            self._queued = []
        return raw

    async def _in_transaction(
        self, queued: list[_Asked], asked: _Asked, answer: tuple[Reply, bytes]
    ) -> bytes:
        reply, raw = answer
        if reply == Simple(b"QUEUED"):
            queued.append(asked)
            return raw
        if asked.is_ours:
            return encode(await self._answer(asked, reply))
        if asked.name in (b"EXEC", b"DISCARD", b"RESET"):
            self._queued = None
        if asked.name != b"EXEC" or not isinstance(reply, list):
            return raw
        items = Stream().feed(raw[raw.index(b"\r\n") + 2 :])
        pieces = [
            encode(await self._answer(each, item)) if each.is_ours else piece
            for (item, piece), each in zip(items, queued, strict=True)
        ]
        return b"*%d\r\n" % len(pieces) + b"".join(pieces)

    async def _answer(self, asked: _Asked, hello: Reply) -> Reply:
        if isinstance(hello, Failure):
            return Failure(_NOT_KNOWN) if hello.text.startswith(b"NOAUTH") else hello
        if isinstance(hello, list):
            hello = dict(zip(hello[::2], hello[1::2], strict=True))
        return await self._module.run(asked.words, hello[b"id"])
