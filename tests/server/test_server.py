"""The proxy in its own thread."""

import asyncio
import gc
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from app.adapters import adapters_for
from app.main import create_app
from app.server.uvicorn_server import Server, listen, run_server, serving
from app.settings import FixedSettings
from app.tools.client import Client
from tests.fakes import FakeEmbedder


def test_a_proxy_in_the_background_answers_and_leaves_nothing_behind() -> None:
    settings = FixedSettings(upstream_url="simulated://", verifier="off")
    embedder = FakeEmbedder()
    before = threading.active_count()
    with serving(create_app(settings, adapters_for(settings, embedder=embedder))) as url:
        with Client(url) as client:
            assert not client.ask("Hello there", {}).is_hit
            assert client.ask("Hello there", {}).is_hit
        assert threading.active_count() > before
    assert threading.active_count() == before
    assert embedder.closed
    with pytest.raises(ConnectionRefusedError):
        Client(url).ask("Hello there", {})


def test_no_proxy_of_the_environment_has_a_part_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    settings = FixedSettings(upstream_url="simulated://", verifier="off")
    app = create_app(settings, adapters_for(settings, embedder=FakeEmbedder()))
    with serving(app) as url, Client(url) as client:
        assert client.ask("Hello there", {}).answer.endswith("Hello there")


def test_a_proxy_in_the_background_ends_with_what_failed_in_front() -> None:
    settings = FixedSettings(upstream_url="simulated://", verifier="off")
    before = threading.active_count()
    app = create_app(settings, adapters_for(settings, embedder=FakeEmbedder()))
    with pytest.raises(KeyboardInterrupt), serving(app):
        raise KeyboardInterrupt
    assert threading.active_count() == before


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_what_is_there_when_serving_begins_is_left_alone_by_the_collector(handlers: None) -> None:
    settings = FixedSettings(upstream_url="simulated://", verifier="off")
    app = create_app(settings, adapters_for(settings, embedder=FakeEmbedder()))
    frozen = []

    def on_listening() -> None:
        frozen.append(gc.get_freeze_count())
        server.should_exit = True

    server = Server(app, 1, on_listening)
    gc.unfreeze()
    with listen("127.0.0.1", 0) as sock:
        run_server(server, sock)
    assert frozen[0] > len(gc.get_objects())


@pytest.fixture
async def listening() -> AsyncIterator[tuple[Server, socket.socket]]:
    settings = FixedSettings(upstream_url="simulated://", verifier="off")
    app = create_app(settings, adapters_for(settings, embedder=FakeEmbedder()))
    server = Server(app, 5, lambda: None)
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    with listen("127.0.0.1", 0) as sock:
        await server.startup(sockets=[sock])
        yield server, sock


REQUEST = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def test_who_waits_to_be_taken_in_when_the_end_begins_is_answered(
    listening: tuple[Server, socket.socket],
) -> None:
    server, sock = listening
    address = sock.getsockname()
    connection = socket.create_connection(address)  # the loop has not seen it
    ending = asyncio.create_task(server.shutdown([sock]))
    reader, writer = await asyncio.open_connection(sock=connection)
    writer.write(REQUEST)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close\r\n" in answer
    writer.close()
    await ending
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)


async def test_a_connection_that_was_kept_is_answered_once_more_and_closed(
    listening: tuple[Server, socket.socket],
) -> None:
    server, sock = listening
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    writer.write(REQUEST)
    first = await reader.readuntil(b"}")
    assert b"connection: close" not in first
    ending = asyncio.create_task(server.shutdown([sock]))
    await asyncio.sleep(0)
    writer.write(REQUEST)
    assert b"\r\nconnection: close\r\n" in await reader.read()
    writer.close()
    await ending


async def test_a_connection_that_asks_nothing_is_closed(
    listening: tuple[Server, socket.socket],
) -> None:
    server, sock = listening
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    await server.shutdown([sock])
    assert await reader.read() == b""
    writer.close()
