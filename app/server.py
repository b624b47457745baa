"""Running the application: a listening socket, uvicorn on it, and an orderly end."""

import asyncio
import gc
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import ConfigurationError

_KEEP_ALIVE_SECONDS = 75  # longer than any client's pool, so that it is the client who closes
_BACKLOG = 2048
_LAST_REQUEST_SECONDS = 0.5  # for a request that was on its way when the end began
_BACKGROUND_SHUTDOWN = 5  # seconds
_END_OF_HEAD = b"\r\n\r\n"
_LONGEST_HEAD = 65_536
_OFFER = re.compile(rb"(?i)\r\nupgrade[ \t]*:(?![^\r\n]*websocket)[^\r\n]*")


class HttpProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP, which loses no body and no request.

    Java's client sends `Upgrade: h2c` with everything. A server may ignore that (RFC 9110 §7.8),
    but httptools takes all that follows the head for the other protocol. So the offer is taken
    out of the head before it is parsed. WebSockets stay: the application refuses them.

    A head is held back until it is whole only where a message surely begins, and looks like one.

    At the end, a connection that waits for a request is not closed at once: one may be on its way,
    and a client that cannot know whether it was acted on may not send it again. It is answered, and
    its head says that the connection ends (RFC 9112 §9.6).
    """

    _is_between = True  # nothing of the next message has been parsed
    _held = b""  # the head so far
    _is_ending = False

    def data_received(self, data: bytes) -> None:
        if self._is_between:
            data = self._held + data
            if _END_OF_HEAD not in data and _may_begin_a_head(data):
                self._unset_keepalive_if_required()
                self._held = data
                if len(data) > _LONGEST_HEAD:
                    self.send_400_response("Request header fields too large.")
                return
            self._held = b""
            data = _without_offers(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._is_between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._is_ending and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_between = True

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_ending:
            self._linger()

    def shutdown(self) -> None:
        self._is_ending = True
        if self._is_idle():
            self._linger()
        elif not self.cycle.response_started:
            self.cycle.keep_alive = False

    def _linger(self) -> None:
        self.loop.call_later(_LAST_REQUEST_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete


def _may_begin_a_head(data: bytes) -> bool:
    """Tell whether more may make a head of it; what is none is the parser's to refuse."""
    return data[:1].isupper() and b"\n\n" not in data


def _without_offers(data: bytes) -> bytes:
    head, end, rest = data.partition(_END_OF_HEAD)
    return _OFFER.sub(b"", head) + end + rest


class Server(uvicorn.Server):
    """Uvicorn, quiet, saying when it listens, and not ready from the moment it is told to stop."""

    def __init__(
        self, app: FastAPI, shutdown_timeout: int, on_listening: Callable[[], None]
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=HttpProtocol,
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                # The upstream's own Server and Date pass through.
                server_header=False,
                date_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=shutdown_timeout,
            )
        )
        self._state = app.state
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving, then say so."""
        await super().startup(sockets)
        if self.started:
            self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, then finish what is in flight.

        Whoever has connected is taken in before: to close a socket breaks off those in its queue.
        """
        taken = [
            self._serve_last(connection) for sock in sockets or [] for connection in _all(sock)
        ]
        serving = asyncio.gather(*taken, return_exceptions=True)  # some have left meanwhile
        await super().shutdown(sockets)
        await serving

    async def _serve_last(self, connection: socket.socket) -> None:
        _, protocol = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: HttpProtocol(self.config, self.server_state, self.lifespan.state), connection
        )
        protocol.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop: the server finishes what is in flight."""
        self._state.ready = False
        super().handle_exit(sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket; port 0 picks a free one. Raises ConfigurationError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # Where a name has both, as localhost does, IPv4 is what most clients try.
        family, _, _, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"REPRISE_HOST={host} REPRISE_PORT={port}: cannot listen there: {error.strerror}"
        ) from error


def _all(sock: socket.socket) -> list[socket.socket]:
    """Give the connections that a listening socket has in its queue."""
    found = []
    with suppress(OSError):  # there is none left, or the socket is closed
        sock.setblocking(False)
        while True:
            found.append(sock.accept()[0])
    return found


def url_of(sock: socket.socket) -> str:
    """Give the base URL of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(server: Server, sock: socket.socket) -> None:
    """Serve on a socket until a signal ends it, and exit with 0."""
    # Uvicorn raises the signal again once it has shut down in good order.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit)
    # What is there by now stays: not to look through it again shortens the longest pauses.
    gc.collect()
    gc.freeze()
    server.run(sockets=[sock])


def _exit(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve on a free port of this machine, in a thread, while the block runs; give the URL."""
    with listen("127.0.0.1", 0) as sock:
        server = Server(app, _BACKGROUND_SHUTDOWN, lambda: None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        try:
            yield url_of(sock)
        finally:
            server.should_exit = True
            thread.join()
