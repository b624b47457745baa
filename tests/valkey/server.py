"""A valkey-server with valkey-search, for one test: a stand-in, or the one that VALKEY_URL names.

async with valkey_search() as server:
    client = valkey.asyncio.from_url(server.url)
    server.switches.search_seconds = 1
    await server.kill()
    await server.restart()
"""

import asyncio
import os
import signal
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest
import valkey.asyncio

from tests.valkey.module import SearchModule
from tests.valkey.process import Process
from tests.valkey.relay import Relay
from tests.valkey.switches import Switches


class ValkeySearch(Protocol):
    """A server, what may befall it, and the switches of its module."""

    @property
    def url(self) -> str: ...
    @property
    def switches(self) -> Switches: ...
    async def kill(self) -> None:
        """End it as `kill -9` does: connections break, new ones are refused."""

    async def restart(self) -> None:
        """End it, if it still runs, and start it again at the same address."""

    def stop(self) -> None:
        """Freeze it: connections are accepted, nothing is answered."""

    def resume(self) -> None:
        """Let it go on."""


class StandIn:
    """The real server behind a relay that answers the module's commands."""

    def __init__(self, process: Process, module: SearchModule, tls: ssl.SSLContext | None) -> None:
        self._process = process
        self._module = module
        self._tls = tls
        self._port = 0
        self._listener: asyncio.Server | None = None
        self._relays: dict[Relay, asyncio.Task[None]] = {}

    @property
    def url(self) -> str:
        return f"{'valkey' if self._tls is None else 'valkeys'}://127.0.0.1:{self._port}/0"

    @property
    def switches(self) -> Switches:
        return self._module.switches

    @property
    def connections(self) -> int:
        """Connections of clients that are open."""
        return len(self._relays)

    async def start(self, *, has_limit: bool = False) -> None:
        """Start the server, then listen."""
        self._has_limit = has_limit
        await self._process.start()
        await self._module.catalog.open(self._process.socket, has_limit=has_limit)
        self._listener = await asyncio.start_server(
            self._serve, "127.0.0.1", self._port, ssl=self._tls
        )
        self._port = self._listener.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        await self.end(signal.SIGKILL)

    async def restart(self) -> None:
        await self.end(signal.SIGTERM)
        if not self._process.is_persistent:
            self._module.catalog.indexes.clear()
        await self.start(has_limit=self._has_limit)

    def stop(self) -> None:
        self._process.stop()

    def resume(self) -> None:
        self._process.resume()

    async def end(self, number: signal.Signals) -> None:
        """Stop listening, end the server with a signal, and break every connection off."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._process.end(number)
        for relay in list(self._relays):
            relay.abort()
        await asyncio.gather(*self._relays.values(), return_exceptions=True)
        await self._module.catalog.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = Relay(self._module, (reader, writer))
        task = asyncio.current_task()
        assert task is not None
        self._relays[relay] = task
        try:
            await relay.run(self._process.socket)
        finally:
            del self._relays[relay]


class Elsewhere:
    """The server that VALKEY_URL names, which no test may harm."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def switches(self) -> Switches:
        pytest.skip("only the stand-in has switches")

    async def kill(self) -> None:
        pytest.skip("only the stand-in may be killed")

    async def restart(self) -> None:
        pytest.skip("only the stand-in may be restarted")

    def stop(self) -> None:
        pytest.skip("only the stand-in may be stopped")

    def resume(self) -> None:
        pytest.skip("only the stand-in may be stopped")


@asynccontextmanager
async def valkey_search(
    version: str = "1.2.1", *, tls: ssl.SSLContext | None = None, **config: str
) -> AsyncIterator[ValkeySearch]:
    """Run a server with a version of the module and settings, such as `maxmemory="60mb"`."""
    if url := os.environ.get("VALKEY_URL"):
        if config or tls is not None or version != "1.2.1":
            pytest.skip("only the stand-in can be configured")
        await _flush(url)
        yield Elsewhere(url)
        return
    async with stand_in(version, tls=tls, **config) as server:
        yield server


@asynccontextmanager
async def stand_in(
    version: str = "1.2.1", *, tls: ssl.SSLContext | None = None, **config: str
) -> AsyncIterator[StandIn]:
    """Run a stand-in, whatever VALKEY_URL says."""
    settings = {name.replace("_", "-"): value for name, value in config.items()}
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
        server = StandIn(Process(Path(folder), settings), SearchModule(version, Switches()), tls)
        try:
            await server.start(has_limit="maxmemory" in settings)
            yield server
        finally:
            await server.end(signal.SIGKILL)


async def _flush(url: str) -> None:
    client: valkey.asyncio.Valkey = valkey.asyncio.Valkey.from_url(url)
    await client.flushdb()
    await client.aclose()
