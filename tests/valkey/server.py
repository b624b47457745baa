"""A valkey-server with valkey-search, for one test: a stand-in, or the one that VALKEY_URL names.

`async with valkey_search() as server` gives a server with a `url`. The stand-in can also be killed,
frozen and restarted, and its `switches` make it slow, partial, or without the module.
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
from tests.valkey.pool import pool
from tests.valkey.process import Process
from tests.valkey.relay import Relay
from tests.valkey.resp import Simple
from tests.valkey.switches import Switches


class ValkeySearch(Protocol):
    """A server that tests can freeze, kill and restart, and the switches of its module."""

    @property
    def url(self) -> str: ...
    @property
    def unix_url(self) -> str:
        """The same server through a unix socket."""

    @property
    def switches(self) -> Switches: ...
    @property
    def connections(self) -> int:
        """Count the connections of clients."""

    async def add_user(self, user: str, *rules: str) -> None:
        """Create a user with ACL SETUSER that survives restarts."""

    async def denied(self, user: str) -> list[str]:
        """List the commands that a user was refused since the server started."""

    async def kill(self) -> None:
        """End it as `kill -9` does: connections break, new ones are refused."""

    async def restart(self) -> None:
        """End it, if it still runs, and start it again at the same address."""

    def stop(self) -> None:
        """Freeze it: it accepts connections but does not answer."""

    def resume(self) -> None:
        """Continue it after a freeze."""


class StandIn:
    """The real server behind a relay that answers the module's commands."""

    def __init__(
        self,
        process: Process,
        module: SearchModule,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self._process = process
        self._module = module
        self._tls = tls
        self._port = port
        self._listeners: list[asyncio.Server] = []
        self._relays: dict[Relay, asyncio.Task[None]] = {}
        self._defects: list[Exception] = []
        self._users: list[tuple[str, ...]] = []

    @property
    def url(self) -> str:
        scheme = "valkey" if self._tls is None else "valkeys"
        password = self._process.config.get("requirepass")
        who = "" if password is None else f":{password}@"
        return f"{scheme}://{who}127.0.0.1:{self._port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self._process.folder / 'relay'}"

    @property
    def switches(self) -> Switches:
        return self._module.switches

    @property
    def connections(self) -> int:
        return len(self._relays)

    async def start(self) -> None:
        """Start the server, unless it runs, then listen."""
        if not self._process.is_running:
            await self._process.start()
        has_limit, is_node = "maxmemory" in self._process.config, self._process.is_node
        await self._module.catalog.open(self._process.socket, has_limit=has_limit, is_node=is_node)
        for user in self._users:
            await self._set_user(*user)
        unix = self._process.folder / "relay"
        unix.unlink(missing_ok=True)
        self._listeners = [
            await asyncio.start_server(self._serve, "127.0.0.1", self._port, ssl=self._tls),
            await asyncio.start_unix_server(self._serve, unix),
        ]
        self._port = self._listeners[0].sockets[0].getsockname()[1]

    async def add_user(self, user: str, *rules: str) -> None:
        self._users.append((user, *rules))
        await self._set_user(user, *rules)

    async def _set_user(self, user: str, *rules: str) -> None:
        plain = self._module.grants.learn(user.encode(), [rule.encode() for rule in rules])
        (reply,) = await self._module.catalog.admin.call(("ACL", "SETUSER", user, *plain))
        assert reply == Simple(b"OK"), reply

    async def denied(self, user: str) -> list[str]:
        (log,) = await self._module.catalog.admin.call(("ACL", "LOG"))
        ours = [name for who, name in self._module.grants.denied if who == user.encode()]
        real = [told[b"object"] for told in log if told[b"username"] == user.encode()]
        return [name.decode() for name in (*ours, *real)]

    async def kill(self) -> None:
        await self.end(signal.SIGKILL)

    async def restart(self) -> None:
        await self.end(signal.SIGTERM)
        if not self._process.is_persistent:
            self._module.catalog.indexes.clear()
        await self.start()

    def stop(self) -> None:
        self._process.stop()

    def resume(self) -> None:
        self._process.resume()

    async def end(self, number: signal.Signals) -> None:
        """Stop listening, end the server with a signal, and break every connection."""
        self._close_listeners()
        await self._process.end(number)
        await self._disconnect()

    def _close_listeners(self) -> None:
        while self._listeners:
            self._listeners.pop().close()

    async def _disconnect(self) -> None:
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
        except Exception as error:  # noqa: BLE001 - told when the server is closed
            self._defects.append(error)
        finally:
            del self._relays[relay]

    async def aclose(self, *, and_server: bool = True) -> None:
        """End it. Raises an ExceptionGroup of what went wrong in the stand-in itself."""
        if and_server:
            await self._process.end(signal.SIGKILL)
        self._close_listeners()
        await self._disconnect()
        defects = [*self._defects, *self._module.catalog.defects]
        if defects:
            raise BaseExceptionGroup("the stand-in is defective", defects)


class Elsewhere:
    """The server in VALKEY_URL, which tests must not freeze, kill or restart."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def unix_url(self) -> str:
        pytest.skip("only the stand-in is known to have a unix socket")

    @property
    def switches(self) -> Switches:
        pytest.skip("only the stand-in has switches")

    @property
    def connections(self) -> int:
        pytest.skip("only the stand-in counts connections")

    async def add_user(self, user: str, *rules: str) -> None:
        pytest.skip("only the stand-in has users of a test")

    async def denied(self, user: str) -> list[str]:
        pytest.skip("only the stand-in has users of a test")

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
    """Run a server with a version of the module and settings, such as `maxmemory="60mb"`.

    Indexes count in the server's memory only if `maxmemory` is given, even if it is 0. The
    stand-in's own connections are called `stand-in` in CLIENT LIST.
    """
    url = os.environ.get("VALKEY_URL", "")
    if url and "+cluster" not in url:
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
    """Run a stand-in, whatever VALKEY_URL says. Without settings, its server is from the pool."""
    if not config:
        process = await pool().take()
        try:
            async with _before(process, version, tls, and_server=False) as server:
                yield server
        finally:
            pool().give_back(process)
        return
    settings = {name.replace("_", "-"): value for name, value in config.items()}
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
        process = Process(Path(folder), settings)
        async with _before(process, version, tls, and_server=True) as server:
            yield server


@asynccontextmanager
async def _before(
    process: Process, version: str, tls: ssl.SSLContext | None, *, and_server: bool
) -> AsyncIterator[StandIn]:
    server = StandIn(process, SearchModule(version, Switches()), tls)
    try:
        await server.start()
        yield server
    finally:
        await server.aclose(and_server=and_server)


async def _flush(url: str) -> None:
    client: valkey.asyncio.Valkey = valkey.asyncio.Valkey.from_url(url)
    await client.flushdb()
    await client.aclose()
