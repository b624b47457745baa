"""Between a client and the real server: everything as it is, and the module's commands answered.

In place of a command of the module the server gets a HELLO, which it answers to whoever may talk
to it at all: so the command keeps its turn, waits for a server that hangs, is queued in a
transaction, and is refused to a client that has not said who it is. Its reply names the client.
"""

import asyncio
from collections import deque
from contextlib import suppress
from pathlib import Path

from tests.valkey.module import SearchModule
from tests.valkey.resp import Failure, Push, Reply, Simple, Stream, command, encode

_HELLO = command("HELLO")
_NOT_KNOWN = b"NOAUTH Authentication required."
_UNPAIRED = {b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"MONITOR", b"SYNC", b"PSYNC"}
_CHUNK = 1 << 18


class Relay:
    """One client's connection and the server's end of it."""

    def __init__(
        self,
        module: SearchModule,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._module = module
        self._from_client, self._to_client = client
        self._asked: deque[list[bytes]] = deque()
        self._queued: list[list[bytes]] | None = None  # commands of a transaction
        self._database = 0
        self._is_raw = False

    async def run(self, path: Path) -> None:
        """Relay until one side closes."""
        try:
            self._from_server, self._to_server = await asyncio.open_unix_connection(path)
        except OSError:
            self.abort()
            return
        ways = [asyncio.create_task(self._requests()), asyncio.create_task(self._replies())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._to_server.close()
            self._to_client.close()

    def abort(self) -> None:
        """Break the client's connection off."""
        self._to_client.transport.abort()

    async def _requests(self) -> None:
        stream = Stream()
        with suppress(ConnectionError):
            while data := await self._from_client.read(_CHUNK):
                if self._is_raw:
                    self._to_server.write(data)
                else:
                    for words, raw in stream.feed(data):
                        self._request(words, raw)
                await self._to_server.drain()

    def _request(self, words: list[bytes], raw: bytes) -> None:
        name = words[0].upper() if words else b""
        if self._module.knows(words):
            self._to_server.write(_HELLO)
            self._asked.append(words)
            return
        if name == b"SELECT" and words[1].isdigit():
            self._database = int(words[1])
        elif name in (b"FLUSHDB", b"FLUSHALL"):
            self._module.catalog.flushing = self._database if name == b"FLUSHDB" else None
        self._is_raw = self._is_raw or name in _UNPAIRED
        self._to_server.write(raw)
        if words:  # an empty line is not answered
            self._asked.append(words)

    async def _replies(self) -> None:
        stream = Stream()
        with suppress(ConnectionError):
            while data := await self._from_server.read(_CHUNK):
                if self._is_raw and not self._asked:
                    self._to_client.write(data)
                else:
                    for reply, raw in stream.feed(data):
                        self._to_client.write(await self._reply(reply, raw))
                await self._to_client.drain()

    async def _reply(self, reply: Reply, raw: bytes) -> bytes:
        if isinstance(reply, Push) or not self._asked:
            return raw
        words = self._asked.popleft()
        if self._queued is not None:
            return await self._in_transaction(words, reply, raw)
        if words[0].upper() == b"MULTI" and reply == Simple(b"OK"):
            self._queued = []
        if self._module.knows(words):
            return encode(await self._substitute(words, reply))
        return raw

    async def _in_transaction(self, words: list[bytes], reply: Reply, raw: bytes) -> bytes:
        assert self._queued is not None
        if reply == Simple(b"QUEUED"):
            self._queued.append(words)
        if words[0].upper() not in (b"EXEC", b"DISCARD", b"RESET"):
            return raw
        queued, self._queued = self._queued, None
        if not isinstance(reply, list) or not any(map(self._module.knows, queued)):
            return raw
        pieces = [b"*%d\r\n" % len(reply)]
        stream = Stream()
        for (item, piece), command_ in zip(
            stream.feed(raw[raw.index(b"\r\n") + 2 :]), queued, strict=True
        ):
            mine = self._module.knows(command_)
            pieces.append(encode(await self._substitute(command_, item)) if mine else piece)
        return b"".join(pieces)

    async def _substitute(self, words: list[bytes], hello: Reply) -> Reply:
        if isinstance(hello, Failure):
            return Failure(_NOT_KNOWN) if hello.text.startswith(b"NOAUTH") else hello
        if isinstance(hello, list):
            hello = dict(zip(hello[::2], hello[1::2], strict=True))
        return await self._module.run(words, hello[b"id"])
