"""Connections to a Valkey: bounded in number and in time, none left with an unread reply."""

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
"""What the server says to a command; an exception where it refuses it."""

GREETING: Command = ("CLIENT", "SETNAME", "reprise")
_MOST_WAITING = 512


class Server(Protocol):
    """What a store keeps its entries in: one server, or a cluster that is asked like one."""

    @property
    def has_replicas(self) -> bool:
        """Whether a write can be lost with the server that took it, others going on."""

    async def call(self, *commands: Command) -> list[Reply]:
        """Send commands in one pipeline; return the replies, errors in place of rejected ones.

        Raises Overloaded, TimeoutError, and what else keeps all of them from being answered.
        """

    async def aclose(self) -> None:
        """Disconnect."""


class Connections:
    """Up to `most` connections to one server. Who finds none free waits in line.

    A call takes `seconds` at most, waiting and connecting included. Nothing is asked twice: a
    server that has gone away is asked anew by the next call.
    """

    has_replicas = False  # those that a server has of its own never take its place

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
        """Send commands in one pipeline; return the replies, errors in place of rejected ones.

        Raises Overloaded if too many are waiting, TimeoutError, and what the client library
        raises when the server cannot be reached, denies the login, is loading or breaks protocol.
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
        """Close all connections; those in use when their call is over."""
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
                commands = (*self._greeting, *commands)  # costs no round trip of its own
            await connection.send_packed_command(connection.pack_commands(commands))
            replies = [await _reply(connection) for _ in commands]
        except BaseException:
            # Whatever happened, a reply may be on its way that nobody will read.
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
            # One timeout bounds a whole call; one for each reply would cost a timer each.
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
        connection.ssl_context.context = self._tls  # its own would not check the host's name
        return connection


def checked(reply: Reply) -> Reply:
    """Return a reply, or raise it if it is a refusal."""
    if isinstance(reply, Exception):
        raise reply
    return reply


async def _is_stale(connection: AbstractConnection) -> bool:
    """Whether the server has closed a connection, or said something unasked."""
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
        file.get_credentials()  # a name that is wrong is to be noticed at once
        return {"credential_provider": file}
    return {"username": address.username or None, "password": address.password or None}


def _tls_of(address: Address) -> ssl.SSLContext | None:
    if not address.is_encrypted:
        return None
    return ssl.create_default_context(cafile=address.ca or None)
