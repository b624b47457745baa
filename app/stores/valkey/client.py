"""A bounded pool of connections to a Valkey server, with one timeout for each call."""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from valkey.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from valkey.exceptions import OutOfMemoryError as OutOfMemory
from valkey.exceptions import ResponseError as Refused
from valkey.exceptions import ValkeyError

from app.core.errors import Overloaded
from app.stores.valkey.credentials import PasswordFile
from app.stores.valkey.url import Address

__all__ = ("Command", "Connections", "OutOfMemory", "Refused", "Reply", "Server", "checked")

Command = tuple[str | bytes | int, ...]
Reply = Any
"""The server's reply to a command; an exception object if the server returned an error."""

GREETING: Command = ("CLIENT", "SETNAME", "reprise")
_MOST_WAITING = 512


class Server(Protocol):
    """A Valkey server, or a cluster that is used like one server."""

    @property
    def has_replicas(self) -> bool:
        """Whether a replica may replace the server in a failover.

        A failover may lose recent writes.
        """

    async def call(self, *commands: Command) -> list[Reply]:
        """Send commands in one pipeline; return their replies in order.

        An error reply is returned as an exception, not raised. Raises Overloaded, TimeoutError or
        another error if no command was answered.
        """

    async def aclose(self) -> None:
        """Disconnect."""


class Connections:
    """Up to `most` connections to one server. A call waits if all connections are in use.

    A call takes at most `seconds`, waiting and connecting included. A call that fails is not
    repeated; the next call connects again. Each new connection first sends the commands in
    `greeting`.
    """

    has_replicas = False  # if a single server has replicas, they never replace it

    def __init__(
        self,
        address: Address,
        most: int,
        seconds: float,
        greeting: Sequence[Command] = (GREETING,),
    ) -> None:
        self._address = address
        self._seconds = seconds
        self._greeting = greeting
        self._tls = _tls_of(address)
        self._credentials = _credentials_of(address)
        self._idle: list[AbstractConnection] = []
        self._room = asyncio.Semaphore(most)
        self._waiting = 0
        self._is_closed = False

    async def call(self, *commands: Command) -> list[Reply]:
        """Send commands in one pipeline; return their replies in order.

        An error reply is returned as an exception, not raised. Raises Overloaded if too many calls
        are waiting, TimeoutError after the time limit, or an error of the client library if the
        server cannot be reached, refuses the login, is loading or breaks the protocol.
        """
        if self._waiting >= _MOST_WAITING:
            raise Overloaded
        async with asyncio.timeout(self._seconds):
            self._waiting += 1
            try:
                await self._room.acquire()
            finally:
                self._waiting -= 1
            try:
                return await self._exchange(commands)
            finally:
                self._room.release()

    async def aclose(self) -> None:
        """Close all connections. A connection in use is closed when its call ends."""
        self._is_closed = True
        while self._idle:
            with suppress(ValkeyError):
                await self._idle.pop().disconnect()

    async def _exchange(self, commands: Sequence[Command]) -> list[Reply]:
        connection = self._idle.pop() if self._idle else self._new()
        try:
            if connection.is_connected and await _is_stale(connection):
                await connection.disconnect(nowait=True)
            is_new = not connection.is_connected
            if is_new:
                await connection.connect()
                commands = (*self._greeting, *commands)  # in one pipeline: saves a round trip
            await connection.send_packed_command(connection.pack_commands(commands))
            replies = [await _reply(connection) for _ in commands]
        except BaseException:
            # A reply may still arrive on this connection, so it cannot be used again.
            await connection.disconnect(nowait=True)
            raise
        if self._is_closed:
            await connection.disconnect(nowait=True)
        else:
            self._idle.append(connection)
        return replies[len(self._greeting) * is_new :]

    def _new(self) -> AbstractConnection:
        address = self._address
        common: dict[str, Any] = {
            "db": address.database,
            **self._credentials,
            # One timeout limits the whole call; a timeout per reply would cost a timer each.
            "socket_timeout": None,
            "lib_name": None,
            "lib_version": None,
        }
        if address.path:
            return UnixDomainSocketConnection(path=address.path, **common)
        common |= {"host": address.host, "port": address.port}
        if self._tls is None:
            return Connection(socket_keepalive=True, **common)
        connection = SSLConnection(socket_keepalive=True, **common)
        connection.ssl_context.context = self._tls  # the library's own does not check the host name
        return connection


def checked(reply: Reply) -> Reply:
    """Return `reply`, or raise it if it is an exception."""
    if isinstance(reply, Exception):
        raise reply
    return reply


async def _is_stale(connection: AbstractConnection) -> bool:
    """Whether the server has closed an idle connection, or has sent unrequested data on it."""
    try:
        return bool(await connection.can_read_destructive())
    except ValkeyError:
        return True


async def _reply(connection: AbstractConnection) -> Reply:
    try:
        return await connection.read_response()
    except Refused as refusal:
        return refusal


def _credentials_of(address: Address) -> dict[str, Any]:
    if address.password_file:
        file = PasswordFile(Path(address.password_file), address.username)
        file.get_credentials()  # fail at the start if the file cannot be read
        return {"credential_provider": file}
    return {"username": address.username or None, "password": address.password or None}


def _tls_of(address: Address) -> ssl.SSLContext | None:
    if not address.is_encrypted:
        return None
    return ssl.create_default_context(cafile=address.ca or None)
