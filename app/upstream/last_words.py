"""Reads the answer of an upstream that closes the connection while a request is being sent.

A server that refuses a body answers and closes the connection (RFC 9112 §9.6). The next write to
this connection fails, and the event loop drops the connection. The kernel still holds the unread
answer at that time. This module reads the answer from the kernel.
"""

import asyncio
import os
import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from aiohttp.client_proto import ResponseHandler

_PIECE = 65_536
_NONE = -1


class LastWords(ResponseHandler):
    """Reads the data received on a connection that is lost while a request is being sent."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._kept = _NONE

    def keep_open(self) -> None:
        """Duplicate the socket of a TLS connection.

        The event loop closes the original socket before it calls `connection_lost`. The method
        `connection_lost` reads the remaining data from the duplicate.
        """
        transport = self.transport
        if self._kept != _NONE or transport is None or _tls_of(transport) is None:
            return
        if sock := transport.get_extra_info("socket"):
            self._kept = os.dup(sock.fileno())

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Pass an error to the code that awaits the answer.

        If the connection is closing, the method first reads the data that have already arrived.
        """
        if isinstance(exc, OSError) and self.transport is not None and self.transport.is_closing():
            self._hear(self.transport)
        super().set_exception(exc, *cause)

    def connection_lost(self, exc: BaseException | None) -> None:
        if isinstance(exc, OSError) and self.transport is not None:
            self._hear(self.transport)
        super().connection_lost(exc)
        if self._kept != _NONE:
            os.close(self._kept)
            self._kept = _NONE

    def _hear(self, transport: asyncio.BaseTransport) -> None:
        for data in self._unread(transport):
            self.data_received(data)

    def _unread(self, transport: asyncio.BaseTransport) -> Iterator[bytes]:
        if (tls := _tls_of(transport)) is None:
            sock = transport.get_extra_info("socket")
            return _read(sock.fileno()) if sock else iter(())
        return iter(()) if self._kept == _NONE else _decrypted(tls, _read(self._kept))


def remembering(context: ssl.SSLContext) -> ssl.SSLContext:
    """Change a TLS context and return the same context.

    Each SSLObject that the context makes after this call has an attribute `incoming`. This
    attribute is the input buffer of the SSLObject.
    """
    wrap = context.wrap_bio

    def wrap_bio(incoming: ssl.MemoryBIO, *args: Any, **options: Any) -> ssl.SSLObject:
        tls: Any = wrap(incoming, *args, **options)
        tls.incoming = incoming
        return tls  # type: ignore[no-any-return]

    context.wrap_bio = wrap_bio  # type: ignore[method-assign]
    return context


def _tls_of(transport: asyncio.BaseTransport) -> Any:
    return transport.get_extra_info("ssl_object")


def _read(descriptor: int) -> Iterator[bytes]:
    with suppress(OSError):
        while data := os.read(descriptor, _PIECE):
            yield data


def _decrypted(tls: Any, received: Iterator[bytes]) -> Iterator[bytes]:
    for data in received:
        tls.incoming.write(data)
        with suppress(ssl.SSLError):  # most often, more data is needed
            while told := tls.read(_PIECE):
                yield told
