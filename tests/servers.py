"""Real servers on real sockets, in the event loop of the test that uses them."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app.adapters import adapters_for
from app.core.metrics import Metrics
from app.core.models import ClientRequest, Header
from app.main import create_app
from app.server.connections import ConnectionLimits
from app.server.uvicorn_server import Server, listen, url_of
from app.settings import FixedSettings
from tests.fakes import FakeEmbedder, FakeStore, FakeVerifier, ManualClock, completion

JSON_TYPE: Header = (b"content-type", b"application/json")
STREAM_TYPE: Header = (b"content-type", b"text/event-stream; charset=utf-8")


@asynccontextmanager
async def running(server: uvicorn.Server, *others: socket.socket) -> AsyncIterator[str]:
    """Run a server, without its signals and its idle loop, and yield its base URL."""
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    with listen("127.0.0.1", 0) as sock:
        url = url_of(sock)
        await server.startup(sockets=[sock, *others])
        try:
            yield url
        finally:
            await _end(server, sock)


async def _end(server: uvicorn.Server, sock: socket.socket) -> None:
    """Shut a server down. Call its slow `shutdown` only if there are connections."""
    for _ in range(5):
        await asyncio.sleep(0)  # lets it notice clients that have left
    if server.server_state.connections or server.server_state.tasks:
        await server.shutdown(sockets=[sock])
        return
    for listener in server.servers:
        listener.close()
    await server.lifespan.shutdown()


@asynccontextmanager
async def proxy_of(
    app: FastAPI, limits: ConnectionLimits | None = None
) -> AsyncIterator[tuple[str, Server]]:
    """Run a proxy and yield the base URL that a client would be told."""
    server = Server(app, 1, lambda: None, limits)
    async with running(server) as url:
        yield f"{url}/v1", server


class _Upstream(uvicorn.Server):
    """A server that ends at once, even if clients still wait."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if tasks := set(self.server_state.tasks):
            await asyncio.wait(tasks, timeout=0.1)


@asynccontextmanager
async def upstream_of(app: ASGIApp) -> AsyncIterator[str]:
    """Run an upstream and yield its base URL."""
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, access_log=False, server_header=False
    )
    async with running(_Upstream(config)) as url:
        yield f"{url}/v1"


class Exchange:
    """One request to the upstream, and the answer to it, step by step."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.headers: list[Header] = [tuple(header) for header in scope["headers"]]
        self.body = b""
        self._more = True
        self._receive = receive
        self._send = send

    def header(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key == name]

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.body)
        return document

    async def pieces(self) -> AsyncIterator[bytes]:
        while self._more:
            message = await self._receive()
            self._more = message.get("more_body", False)
            if piece := message.get("body", b""):
                self.body += piece
                yield piece

    async def read(self) -> bytes:
        async for _ in self.pieces():
            pass
        return self.body

    async def start(self, status_code: int = 200, *headers: Header) -> None:
        await self._send(
            {"type": "http.response.start", "status": status_code, "headers": list(headers)}
        )

    async def write(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})

    async def answer(self, document: object, status_code: int = 200, *headers: Header) -> None:
        body = json.dumps(document).encode()
        length = (b"content-length", b"%d" % len(body))
        await self.start(status_code, JSON_TYPE, length, *headers)
        await self._send({"type": "http.response.body", "body": body})

    async def stream(self, *chunks: dict[str, Any]) -> None:
        await self.start(200, STREAM_TYPE)
        for chunk in chunks:
            await self.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        await self.write(b"data: [DONE]\n\n")
        await self.end()

    async def disconnected(self) -> None:
        """Wait until the proxy has closed the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def echo(exchange: Exchange) -> None:
    """Answer a chat completion with its own question."""
    await exchange.read()
    question = exchange.document["messages"][-1]["content"]
    await exchange.answer(completion(f"Answer to {question}"))


def asked_by(exchange: Exchange) -> ClientRequest:
    """Return the request of an exchange whose body was read, as the fakes expect it."""
    return ClientRequest(
        exchange.method, exchange.path, exchange.query, exchange.headers, exchange.body
    )


async def until_closed(
    host: str, port: int, sent: bytes, *, size: int = 100_000, half_close: bool = False
) -> bytes:
    """Send bytes, a given number at a time, and return all that the server sends.

    With `half_close` the client closes its sending side at once.
    """
    reader, writer = await asyncio.open_connection(host, port)
    for at in range(0, len(sent), size):
        writer.write(sent[at : at + size])
        await writer.drain()
        await asyncio.sleep(0)
    if half_close:
        writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


class UpstreamApp:
    """An upstream that calls `handler` for each request, and records the requests."""

    def __init__(self, handler: Callable[[Exchange], Awaitable[None]] = echo) -> None:
        self.handler = handler
        self.exchanges: list[Exchange] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        self.exchanges.append(exchange)
        await self.handler(exchange)


class Setup:
    """A proxy on a socket in front of an upstream on another socket.

    Clock, local embedder and verifier are fakes. Everything else is made from the settings as in
    production, a remote embedder included. The verifier is off unless the settings turn it on.
    """

    def __init__(self, **settings: Any) -> None:
        self.upstream = UpstreamApp()
        self.clock = ManualClock()
        self.store: Any = FakeStore(self.clock)
        self.embedder = FakeEmbedder()
        self.verifier: Any = FakeVerifier()
        self.settings = FixedSettings(**{"verifier": "off", **settings})
        self.metrics: Metrics
        self.server: Server

    @asynccontextmanager
    async def run(self) -> AsyncIterator[str]:
        """Run both and yield the proxy's base URL."""
        async with upstream_of(self.upstream) as url, self.run_before(url) as proxy_url:
            yield proxy_url

    @asynccontextmanager
    async def run_on_socket(self) -> AsyncIterator[tuple["Setup", str, int]]:
        """Run both and yield the proxy's host and port, for tests that write HTTP by hand."""
        async with self.run() as url:
            parts = urlsplit(url)
            yield self, parts.hostname or "", parts.port or 0

    @asynccontextmanager
    async def run_before(self, upstream_url: str) -> AsyncIterator[str]:
        """Run only the proxy, for an upstream that runs already."""
        settings = self.settings.model_copy(update={"upstream_url": upstream_url})
        fake = self.embedder if settings.embedder == "local" else None
        adapters = adapters_for(settings, embedder=fake, verifier=self.verifier, clock=self.clock)
        if self.store is not None:
            adapters = replace(adapters, store=self.store)
        self.metrics = adapters.metrics
        app = create_app(settings, adapters)
        async with proxy_of(app, ConnectionLimits.of(settings)) as (url, self.server):
            yield url
