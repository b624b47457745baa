"""Memory held in the real server in place of an index's memory.

An incomplete command keeps its bytes in the server, where they count against
`maxmemory` and cannot be evicted, until its connection closes.
"""

import asyncio
from pathlib import Path

from tests.valkey.process import ADMIN
from tests.valkey.resp import command

_CHUNK = 1 << 20
_BEGINNING = b"*1\r\n$%d\r\n" % _CHUNK + bytes(_CHUNK - 1)


class Ballast:
    """About a given number of bytes held in the real server."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: list[asyncio.StreamWriter] = []
        self._lock = asyncio.Lock()

    async def hold(self, amount: int) -> None:
        """Grow or shrink to about `amount` bytes."""
        async with self._lock:
            while len(self._held) < amount // _CHUNK:
                reader, writer = await asyncio.open_unix_connection(self._path)
                hello = command("HELLO", "3", "AUTH", ADMIN, "-", "SETNAME", ADMIN)
                writer.write(hello)
                await reader.read(_CHUNK)
                writer.write(_BEGINNING)
                await writer.drain()
                self._held.append(writer)
            while len(self._held) > amount // _CHUNK:
                self._held.pop().close()

    async def aclose(self) -> None:
        """Release the memory."""
        await self.hold(0)
