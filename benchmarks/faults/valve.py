"""A relay between a proxy and one of the proxy's parts. The relay can fail in several ways."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto

_SLOW = 1.0  # seconds that each piece is delayed
_BIT = 0x10


class Flow(Enum):
    """What a valve does with bytes."""

    OPEN = auto()
    KILLED = auto()  # connections are refused, and open ones are broken
    HUNG = auto()  # connections are accepted, and nothing is passed on
    SLOW = auto()
    CORRUPT = auto()  # one bit of each piece that the part sends is flipped


class Valve:
    """Relays connections to a port of this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._flow = Flow.OPEN
        self._changed = asyncio.Condition()
        self._writers: set[asyncio.StreamWriter] = set()
        self._relays: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def turn(self, flow: Flow) -> None:
        """Change what the valve does with bytes from now on."""
        async with self._changed:
            self._flow = flow
            self._changed.notify_all()
        if flow is Flow.KILLED:
            await self.close()
        elif self._server is None:
            await self.listen()

    async def listen(self) -> None:
        """Accept connections. The port stays the same after the first call."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Refuse connections, and break the open ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in [*self._writers]:
            writer.transport.abort()
        if self._relays:
            await asyncio.wait(self._relays)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._join(reader, writer))
        self._relays.add(task)
        await task
        self._relays.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._until_not(Flow.HUNG)
            back, forth = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(forth)
        ways = self._pour(reader, forth, is_said=False), self._pour(back, writer, is_said=True)
        await asyncio.gather(*ways)
        self._writers -= {writer, forth}

    async def _pour(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_said: bool
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(65_536):
                await self._until_not(Flow.HUNG)
                if is_said and self._flow is Flow.SLOW:
                    await asyncio.sleep(_SLOW)
                if is_said and self._flow is Flow.CORRUPT:
                    middle = len(piece) // 2
                    piece = piece[:middle] + bytes([piece[middle] ^ _BIT]) + piece[middle + 1 :]
                writer.write(piece)
                await writer.drain()
        with suppress(OSError):
            writer.close()
            await writer.wait_closed()

    async def _until_not(self, flow: Flow) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._flow is not flow)


@asynccontextmanager
async def valve_before(target: int) -> AsyncIterator[Valve]:
    """Run an open valve that relays to port `target`."""
    valve = Valve(target)
    await valve.listen()
    try:
        yield valve
    finally:
        await valve.turn(Flow.KILLED)
