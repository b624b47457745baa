"""Hostile clients. Each makes random attacks, one after another."""

import asyncio
import random
import socket
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.behaviour.test_hostile_wire import HOST

_LONGEST = 10.0  # seconds of an attack
_PAUSE = 0.5, 1.5  # seconds between two attacks of a client: the least and the greatest
_PATIENCE = 6.0  # seconds; longer than the proxy has for a client that stalls
_DROP = 0.1  # seconds between two drops
_SMALL_BUFFER = 4096  # bytes
_AT_ONCE = 65_536  # bytes


@dataclass(frozen=True, slots=True)
class Attacker:
    """A client with its own IP address, so that it shares its limit of connections with no other.

    `patience`: how many seconds the client waits in attacks that consist of waiting.
    """

    host: str
    port: int
    address: str
    key: str
    draw: random.Random
    patience: float = _PATIENCE

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a connection, and abort it at the end."""
        reader, writer = await asyncio.open_connection(
            self.host, self.port, local_addr=(self.address, 0)
        )
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def say(
        self, sent: bytes, *, begin: bytes = b"", size: int = _AT_ONCE, between: float = 0.0
    ) -> None:
        """Send `begin` at once and `sent` in pieces. Read until the proxy closes the connection.

        A piece has `size` bytes, and `between` seconds pass after it. If the proxy closes the
        connection early, the remaining pieces are not sent.
        """
        async with self.connection() as (reader, writer), _heard(reader) as hearing:
            writer.write(begin)
            for at in range(0, len(sent), size):
                writer.write(sent[at : at + size])
                await writer.drain()
                await asyncio.sleep(between)
                if hearing.done():
                    break
            await hearing

    async def drip(self, sent: bytes, begin: bytes = b"") -> None:
        """Send `begin` at once, and `sent` byte by byte, with a pause after each byte."""
        await self.say(sent, begin=begin, size=1, between=_DROP)

    async def ignore(self, sent: bytes) -> None:
        """Send bytes, and read nothing for `patience` seconds."""
        async with self.connection() as (_, writer):
            told = writer.get_extra_info("socket")
            told.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
            assert isinstance(writer.transport, asyncio.Transport)
            writer.transport.pause_reading()
            writer.write(sent)
            await asyncio.sleep(self.patience)

    async def leave(self, sent: bytes, *, after: int) -> None:
        """Send bytes, and abort the connection after `after` bytes of the answer."""
        async with self.connection() as (reader, writer):
            writer.write(sent)
            await writer.drain()
            while after > 0 and (piece := await reader.read(after)):
                after -= len(piece)

    def signed(self, request: bytes) -> bytes:
        """Return the request with the client's API key in a header."""
        return request.replace(HOST, HOST + f"Authorization: Bearer {self.key}\r\n".encode(), 1)

    def nonce(self) -> str:
        """Return a text that was not used before."""
        return f"{self.draw.getrandbits(64):x}"


@asynccontextmanager
async def _heard(reader: asyncio.StreamReader) -> AsyncIterator[asyncio.Task[None]]:
    """Yield a task that reads until the proxy closes the connection. Cancel it after the block."""

    async def hear() -> None:
        while await reader.read(_AT_ONCE):
            pass

    hearing = asyncio.create_task(hear())
    try:
        yield hearing
    finally:
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)


async def together(*doing: Coroutine[None, None, None]) -> None:
    """Run several coroutines at once. If the proxy ends one of them, the others continue."""

    async def alone(one: Coroutine[None, None, None]) -> None:
        with suppress(OSError, EOFError):
            await one

    async with asyncio.TaskGroup() as tasks:
        for one in doing:
            tasks.create_task(alone(one))


Attack = Callable[[Attacker], Coroutine[None, None, None]]


async def attempt(attack: Attack, attacker: Attacker) -> None:
    """Make an attack, with a time limit. A refusal or a disconnect by the proxy is not an error."""
    with suppress(OSError, EOFError):  # TimeoutError is an OSError
        async with asyncio.timeout(_LONGEST):
            await attack(attacker)


class Attackers:
    """Hostile clients of a proxy. `attempts` counts their attacks, by kind.

    `broken` counts, by kind, the attacks that failed because of a bug in the attack's own code.
    """

    def __init__(self, url: str, key: str, attacks: Mapping[str, Attack], seed: int = 0) -> None:
        self.attempts = Counter[str]()
        self.broken = Counter[str]()
        self._url, self._key = urlsplit(url), key
        self._attacks = attacks
        self._seed = seed

    async def run(self, clients: int) -> None:
        """Attack with `clients` clients until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(clients):
                tasks.create_task(self._go_on(number))

    async def _go_on(self, number: int) -> None:
        draw = random.Random(f"{self._seed} {number}")  # noqa: S311 - no secret
        host, port = self._url.hostname or "", self._url.port or 0
        attacker = Attacker(host, port, f"127.0.0.{2 + number}", self._key, draw)
        while True:
            kind = draw.choice(list(self._attacks))
            self.attempts[kind] += 1
            (error,) = await asyncio.gather(
                attempt(self._attacks[kind], attacker), return_exceptions=True
            )
            if error is not None:
                self.broken[kind] += 1
                traceback.print_exception(error)
            await asyncio.sleep(draw.uniform(*_PAUSE))
