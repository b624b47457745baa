"""Runs the application with uvicorn on listening sockets, and shuts it down gracefully."""

import asyncio
import gc
import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from app.core.errors import ConfigurationError
from app.server.connections import ConnectionLimits, Connections
from app.server.http_protocol import HttpProtocol
from app.server.listeners import OperatorsListener
from app.settings import Settings

_BACKLOG = 2048
_BACKGROUND_SHUTDOWN = 5  # shutdown timeout in seconds of a server in a thread


class Server(uvicorn.Server):
    """Uvicorn's server with Reprise's HTTP protocol.

    The server calls `on_listening` after it has begun to listen. After a signal has told the server
    to stop, `/readyz` answers 503.
    """

    def __init__(
        self,
        app: FastAPI,
        shutdown_timeout: int,
        on_listening: Callable[[], None],
        limits: ConnectionLimits | None = None,
        operators_port: int | None = None,
    ) -> None:
        limits = limits or ConnectionLimits()
        self._protocol = partial(
            HttpProtocol, clients=Connections(limits.per_client), patience=limits.patience
        )
        super().__init__(
            uvicorn.Config(
                OperatorsListener(app, operators_port) if operators_port else app,
                http=self._protocol,  # type: ignore[arg-type]
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                # The upstream's own Server and Date headers are passed on.
                server_header=False,
                date_header=False,
                timeout_keep_alive=math.ceil(limits.patience.idle),
                timeout_graceful_shutdown=shutdown_timeout,
            )
        )
        self._state = app.state
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving, then call `on_listening`."""
        await super().startup(sockets)
        if self.started:
            self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the waiting connections, stop listening, and finish the running requests.

        The waiting connections are those in the queue of a listening socket. If they were not
        accepted, they would be reset when the socket is closed.
        """
        taken = [
            self._serve_last(connection) for sock in sockets or [] for connection in _all(sock)
        ]
        serving = asyncio.gather(*taken, return_exceptions=True)  # some clients may have left
        await super().shutdown(sockets)
        await serving

    async def _serve_last(self, connection: socket.socket) -> None:
        _, protocol = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: self._protocol(self.config, self.server_state, self.lifespan.state), connection
        )
        protocol.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the shutdown after a signal. Running requests are still answered."""
        self._state.ready = False
        super().handle_exit(sig, frame)


def listeners_of(settings: Settings) -> list[socket.socket]:
    """Open and return the listening sockets that the settings ask for.

    The first socket is for the API. If the operators have their own port, the second socket is for
    operators. Raises ConfigurationError if a socket cannot listen on its address.
    """
    sockets = [listen(settings.host, settings.port)]
    if settings.admin_port:
        sockets.append(listen(settings.operators_host, settings.admin_port, "ADMIN_"))
    return sockets


def listen(host: str, port: int, kind: str = "") -> socket.socket:
    """Open and return a listening socket. If `port` is 0, a free port is chosen.

    Raises ConfigurationError if the socket cannot listen on the address. The error's message names
    the settings `REPRISE_{kind}HOST` and `REPRISE_{kind}PORT`.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # If a name has IPv4 and IPv6 addresses, as localhost does, most clients try IPv4.
        family, _, _, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"REPRISE_{kind}HOST={host} REPRISE_{kind}PORT={port}: cannot listen on this address: "
            f"{error.strerror}"
        ) from error


def _all(sock: socket.socket) -> list[socket.socket]:
    """Accept and return all connections that wait in the queue of a listening socket."""
    found = []
    with suppress(OSError):  # the queue is empty, or the socket is closed
        sock.setblocking(False)
        while True:
            found.append(sock.accept()[0])
    return found


def url_of(sock: socket.socket) -> str:
    """Return the URL of a listening socket, such as `http://127.0.0.1:8000`."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(server: Server, *sockets: socket.socket) -> None:
    """Serve on the sockets until SIGINT or SIGTERM arrives, then exit with status 0."""
    # Uvicorn raises the signal again after its shutdown; exit with 0 then.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit)
    # Objects created so far live to the end. Without them, garbage collections take less time.
    gc.collect()
    gc.freeze()
    server.run(sockets=[*sockets])


def _exit(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Return a context manager that serves `app` in a thread, on a free port of 127.0.0.1.

    The `with` statement provides the server's URL. The server stops at the end of the block.
    """
    with listen("127.0.0.1", 0) as sock:
        server = Server(app, _BACKGROUND_SHUTDOWN, lambda: None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        try:
            yield url_of(sock)
        finally:
            server.should_exit = True
            thread.join()
