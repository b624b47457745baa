"""How long the proxy waits for a client that is slow or has gone away."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.servers import STREAM_TYPE, Exchange, Setup, echo, until_closed

HEAD_SECONDS, CLIENT_SECONDS, IDLE_SECONDS = 0.2, 0.3, 0.4
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "valkey what"}]}).encode()
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
FILES = b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\n"
KNOWN = b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n" % (len(BODY), BODY)

Running = tuple[Setup, str, int]


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    setup = Setup(
        head_timeout=HEAD_SECONDS, client_timeout=CLIENT_SECONDS, idle_timeout=IDLE_SECONDS
    )
    async with setup.run_on_socket() as told:
        yield told


def statuses(told: bytes) -> list[bytes]:
    return [part[:3] for part in told.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", []),
        (b"\r\n", []),
        (b"G", [b"408"]),
        (HEALTH[:-2], [b"408"]),
        (b"\r\n" + HEALTH[:-2], [b"408"]),
        (HEALTH, [b"200"]),
        (HEALTH + b"\r\n", [b"200"]),
        (HEALTH + HEALTH, [b"200", b"200"]),
        (HEALTH + HEALTH[:-2], [b"200", b"408"]),
        (CHAT + KNOWN, [b"408"]),
        (CHAT + KNOWN + BODY[:-1], [b"408"]),
        (CHAT + CHUNKED, [b"408"]),
        (CHAT + CHUNKED + CHUNK[:-4], [b"408"]),
        (CHAT + CHUNKED + CHUNK, [b"408"]),
        (CHAT + CHUNKED + CHUNK + b"0\r\n", [b"408"]),
        (CHAT + CHUNKED + CHUNK + b"0\r\nA: b\r\n", [b"408"]),
        (CHAT + CHUNKED + CHUNK + b"0\r\n\r\n", [b"200"]),
        (HEALTH + CHAT + CHUNKED + CHUNK, [b"200", b"408"]),
        (FILES + KNOWN + BODY[:-1], [b"408"]),
        (FILES + CHUNKED + CHUNK + b"0\r\nA: b\r\n", [b"408"]),
    ],
)
async def test_what_does_not_come_is_not_waited_for(
    running: Running, sent: bytes, expected: list[bytes]
) -> None:
    _, host, port = running
    async with asyncio.timeout(5):
        told = await until_closed(host, port, sent)
    assert statuses(told) == expected
    if expected[-1:] == [b"408"]:
        head, _, body = told.rpartition(b"\r\n\r\n")
        assert b"\r\nconnection: close" in head
        error = json.loads(body)["error"]
        assert (error["code"], error["type"]) == ("request_timeout", "invalid_request_error")


async def dribble(running: Running, begin: bytes, rest: bytes, size: int = 1) -> bytes:
    """Send `begin`, and `rest` in pieces of `size` bytes. Return all that the server sends."""
    _, host, port = running
    reader, writer = await asyncio.open_connection(host, port)
    reading = asyncio.ensure_future(reader.read())
    writer.write(begin)
    with suppress(ConnectionError):
        for at in range(0, len(rest), size):
            if reading.done():
                break
            writer.write(rest[at : at + size])
            await writer.drain()
            await asyncio.sleep(0.02)
    async with asyncio.timeout(5):
        told = await reading
    writer.close()
    return told


@pytest.mark.parametrize(
    ("begin", "rest", "expected"),
    [
        (b"", HEALTH * 10, b"408"),
        (b"", b"\r\n" * 100, b""),
        (HEALTH, HEALTH * 10, b"408"),
        (CHAT + b"Content-Length: 1000\r\n\r\n", b" " * 1000, b"408"),
        (CHAT + CHUNKED, b"1\r\n \r\n" * 100, b"408"),
        (CHAT + CHUNKED + CHUNK + b"0\r\n", b"A: b\r\n" * 100, b"408"),
        (FILES + CHUNKED, b"1\r\n \r\n" * 100, b"408"),
    ],
)
async def test_what_comes_in_drops_is_not_waited_for_either(
    running: Running, begin: bytes, rest: bytes, expected: bytes
) -> None:
    told = await dribble(running, begin, rest)
    assert statuses(told)[-1:] == [expected][: len(expected)]


async def test_a_body_that_comes_steadily_may_take_its_time(running: Running) -> None:
    body = BODY + b" " * (20 * 1000 - len(BODY))
    head = CHAT + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    begun = asyncio.get_running_loop().time()
    told = await dribble(running, head, body, size=1000)
    assert asyncio.get_running_loop().time() - begun > CLIENT_SECONDS
    assert statuses(told) == [b"200"]


async def test_who_waits_for_the_upstream_is_not_hurried(running: Running) -> None:
    setup, host, port = running

    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(2 * IDLE_SECONDS)
        await echo(exchange)

    setup.upstream.handler = slow
    told = await until_closed(host, port, CHAT + b"Connection: close\r\n" + KNOWN + BODY)
    assert statuses(told) == [b"200"]


async def test_a_stream_may_pause(running: Running) -> None:
    setup, host, port = running

    async def pausing(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, STREAM_TYPE)
        for number in range(2):
            await exchange.write(b"data: %d\n\n" % number)
            await asyncio.sleep(2 * IDLE_SECONDS)
        await exchange.end()

    setup.upstream.handler = pausing
    told = await until_closed(host, port, FILES + b"Connection: close\r\n" + KNOWN + BODY)
    assert statuses(told) == [b"200"]
    assert b"data: 1" in told


async def test_a_client_is_not_to_blame_while_the_upstream_takes_nothing(running: Running) -> None:
    setup, host, port = running
    size = 20_000_000  # more than the kernel takes

    async def busy(exchange: Exchange) -> None:
        await asyncio.sleep(2 * IDLE_SECONDS)
        async for _ in exchange.pieces():
            exchange.body = b""
        await exchange.answer({})

    setup.upstream.handler = busy
    head = FILES + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % size
    async with asyncio.timeout(20):
        told = await until_closed(host, port, head + b" " * size)
    assert statuses(told) == [b"200"]


async def test_the_upstream_is_let_go_of_with_a_client_that_stalls(running: Running) -> None:
    setup, host, port = running
    left = asyncio.Event()

    async def reading(exchange: Exchange) -> None:
        await exchange.disconnected()
        left.set()

    setup.upstream.handler = reading
    told = await until_closed(host, port, FILES + KNOWN + BODY[:-1])
    assert statuses(told) == [b"408"]
    async with asyncio.timeout(5):
        await left.wait()


async def test_who_was_refused_and_goes_on_sending_is_not_heard_for_ever() -> None:
    setup = Setup(api_keys=["sk-right"], client_timeout=CLIENT_SECONDS)
    async with setup.run_on_socket() as running:
        told = await dribble(running, CHAT + b"Content-Length: 1000\r\n\r\n", b" " * 1000)
    assert statuses(told) == [b"401"]
