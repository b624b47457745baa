"""The stand-in's own connection to the real server."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.valkey.process import ADMIN
from tests.valkey.resp import Push, Reply, Stream, command

Command = tuple[bytes | str | int, ...]

_READS = {"PEXPIRETIME", "HMGET", "HGETALL"}


class Admin:
    """Sends commands to the real server, and gets events of its keys in the same order.

    `on_event` gets database, key and event of each change. `on_flush` is called after a database
    was emptied. Events that precede a reply are reported before the reply is returned.
    """

    def __init__(
        self, on_event: Callable[[int, bytes, bytes], None], on_flush: Callable[[], None]
    ) -> None:
        self._on_event = on_event
        self._on_flush = on_flush
        self._waiting: deque[asyncio.Future[Reply]] = deque()

    async def open(self, path: Path, *, is_node: bool = False) -> None:
        """Connect through a unix socket; `is_node` is true of a node of a cluster."""
        self._is_node = is_node
        self._reader, self._writer = await asyncio.open_unix_connection(path)
        self._listener = asyncio.create_task(self._listen())
        # The stand-in's reads must not affect LRU, nor cause invalidation messages for keys. With
        # OPTIN, the only message left is the one for a flush.
        await self.call(
            ("HELLO", "3", "AUTH", ADMIN, "-"),
            ("CLIENT", "SETNAME", ADMIN),
            ("CLIENT", "NO-TOUCH", "ON"),
            ("CLIENT", "TRACKING", "ON", "OPTIN"),
        )
        self._writer.write(command("PSUBSCRIBE", "__keyspace@*__:*"))  # answered by a push
        await self.call(("PING",), *([("READONLY",)] if is_node else []))

    async def call(self, *commands: Command) -> list[Reply]:
        """Send commands in one piece. Raises ConnectionError if the server goes away."""
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Reply]] = [loop.create_future() for _ in commands]
        if self._listener.done():
            raise ConnectionResetError("the server is gone")
        for words, future in zip(commands, futures, strict=True):
            if self._is_node and words[0] in _READS:  # even while its slot moves to this node
                self._waiting.append(loop.create_future())
                self._writer.write(command("ASKING"))
            self._waiting.append(future)
            self._writer.write(command(*words))
        return await asyncio.gather(*futures)

    async def call_in(self, database: int, *commands: Command) -> list[Reply]:
        """Send commands to a database."""
        return (await self.call(("SELECT", database), *commands))[1:]

    async def _listen(self) -> None:
        stream = Stream()
        with suppress(OSError):
            while data := await self._reader.read(1 << 20):
                for value, _ in stream.feed(data):
                    if isinstance(value, Push):
                        self._hear(value.items)
                    elif not (future := self._waiting.popleft()).done():
                        future.set_result(value)
        for future in self._waiting:
            if not future.done():
                future.set_exception(ConnectionResetError("the server is gone"))
        self._waiting.clear()

    def _hear(self, items: list[Reply]) -> None:
        match items:
            case [b"pmessage", _, channel, event]:
                # __keyspace@<database>__:<key>
                place, _, key = channel.partition(b"__:")
                self._on_event(int(place.partition(b"@")[2]), key, event)
            case [b"invalidate", None]:
                self._on_flush()

    async def aclose(self) -> None:
        """Disconnect."""
        self._writer.close()
        self._listener.cancel()
        await asyncio.gather(self._listener, return_exceptions=True)
