"""The upstream adapter on real sockets: it changes nothing in requests and answers."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from app.core.errors import (
    ClientDisconnected,
    UpstreamInterrupted,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from app.core.models import ClientRequest, Header
from app.upstream.http import HttpUpstream, Target
from tests.servers import Exchange, UpstreamApp, upstream_of

Connection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HOST = "127.0.0.1"


def request(
    method: str = "GET",
    path: bytes = b"/models",
    query: bytes = b"",
    headers: list[Header] | None = None,
    body: bytes | AsyncIterator[bytes] = b"",
) -> ClientRequest:
    return ClientRequest(method, path, query, headers or [], body)


@asynccontextmanager
async def upstream(app: UpstreamApp, **target: Any) -> AsyncIterator[HttpUpstream]:
    async with upstream_of(app) as url:
        adapter = HttpUpstream(Target(url, **target))
        yield adapter
        await adapter.aclose()


@asynccontextmanager
async def raw_server(connection: Connection, **target: Any) -> AsyncIterator[HttpUpstream]:
    closed: list[asyncio.Event] = []

    async def close_after(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        closed.append(asyncio.Event())
        await connection(reader, writer)
        writer.close()
        await writer.wait_closed()
        closed[-1].set()

    server = await asyncio.start_server(close_after, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    adapter = HttpUpstream(Target(f"http://{HOST}:{port}/v1", **target))
    try:
        yield adapter
    finally:
        await adapter.aclose()
        server.close()
        for event in closed:
            await event.wait()


async def send(adapter: HttpUpstream, outgoing: ClientRequest) -> tuple[int, list[Header], bytes]:
    async with aclosing(await adapter.send(outgoing)) as response:
        body = b"".join([piece async for piece in response])
        return response.status_code, response.headers, body


async def ok(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.answer({"ok": True})


async def test_the_request_arrives_as_it_was_sent() -> None:
    app = UpstreamApp(ok)
    headers: list[Header] = [
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"x-utf-8", "grüße".encode()),
        (b"content-type", b"application/json"),
    ]
    async with upstream(app) as adapter:
        await send(adapter, request("POST", b"/x", headers=headers, body=b'{"a" : 1}'))
    (exchange,) = app.exchanges
    assert (exchange.method, exchange.path, exchange.body) == ("POST", b"/v1/x", b'{"a" : 1}')
    assert [h for h in exchange.headers if h[0] not in {b"host", b"content-length"}] == headers


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "PATCH", "OPTIONS", "PROPFIND"])
async def test_any_method_goes(method: str) -> None:
    app = UpstreamApp(ok)
    async with upstream(app) as adapter:
        await send(adapter, request(method))
    assert app.exchanges[0].method == method


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (b"/files/a%2Fb%41", b""),
        (b"/x", b"include[]=a&include[]=b"),
        (b"/x", b"a=%20&b=+&c=%2B&d=%E4%BD%A0&e"),
        (b"/x;v=1", b"a=1;b=2"),
        (b"/a|b/~'(x)", b"q='%22"),
    ],
)
async def test_the_target_is_not_normalised(path: bytes, query: bytes) -> None:
    app = UpstreamApp(ok)
    async with upstream(app) as adapter:
        await send(adapter, request(path=path, query=query))
    assert (app.exchanges[0].path, app.exchanges[0].query) == (b"/v1" + path, query)


async def test_the_response_comes_back_as_it_was_sent() -> None:
    compressed = gzip.compress(b'{"ok":true}')
    headers: list[Header] = [
        (b"content-type", b"application/json"),
        (b"content-encoding", b"gzip"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    ]

    async def answer(exchange: Exchange) -> None:
        await exchange.start(207, *headers, (b"connection", b"close, x-hop"), (b"x-hop", b"1"))
        await exchange.write(compressed)
        await exchange.end()

    async with upstream(UpstreamApp(answer)) as adapter:
        status_code, received, body = await send(adapter, request())
    assert (status_code, body) == (207, compressed)
    assert [h for h in received if h[0] != b"date"] == headers


async def test_redirects_are_the_clients_business() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer({}, 307, (b"location", b"/v1/elsewhere"))

    app = UpstreamApp(answer)
    async with upstream(app) as adapter:
        status_code, _, _ = await send(adapter, request())
    assert (status_code, len(app.exchanges)) == (307, 1)


async def test_no_cookie_is_kept_for_the_next_caller() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer({}, 200, (b"set-cookie", b"session=of-another; Path=/"))

    app = UpstreamApp(answer)
    async with upstream_of(app) as url:
        # By name: a jar that may not be there would not keep the cookies of an address.
        adapter = HttpUpstream(Target(url.replace(HOST, "localhost")))
        for _ in range(2):
            await send(adapter, request())
        await adapter.aclose()
    assert app.exchanges[1].header(b"cookie") == []


async def test_the_body_arrives_while_it_is_being_sent() -> None:
    release = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.write(b"first")
        await release.wait()
        await exchange.write(b"second")
        await exchange.end()

    async with (
        upstream(UpstreamApp(answer)) as adapter,
        aclosing(await adapter.send(request())) as response,
    ):
        pieces = aiter(response)
        assert await anext(pieces) == b"first"
        release.set()
        assert await anext(pieces) == b"second"


@pytest.mark.parametrize("length", [b"11", None])
async def test_an_upload_is_streamed(length: bytes | None) -> None:
    arrived = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        async for _ in exchange.pieces():
            arrived.set()
        await exchange.answer({})

    async def body() -> AsyncIterator[bytes]:
        yield b"first "
        await arrived.wait()  # the upstream has it before the rest exists
        yield b"later"

    app = UpstreamApp(answer)
    headers: list[Header] = [(b"content-length", length)] if length else []
    async with upstream(app) as adapter:
        await send(adapter, request("POST", headers=headers, body=body()))
    (exchange,) = app.exchanges
    assert exchange.body == b"first later"
    assert exchange.header(b"content-length") == ([length] if length else [])
    assert exchange.header(b"transfer-encoding") == ([] if length else [b"chunked"])


CREDENTIALS: list[Header] = [
    (b"authorization", b"Bearer client"),
    (b"api-key", b"client"),
    (b"x-api-key", b"client"),
    (b"cookie", b"session=client"),
]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({}, CREDENTIALS),
        ({"keep_credentials": False}, []),
        (
            {"keep_credentials": False, "api_key": "ours"},
            [(b"authorization", b"Bearer ours")],
        ),
    ],
)
async def test_credentials_are_kept_dropped_or_replaced(
    target: dict[str, Any], expected: list[Header]
) -> None:
    app = UpstreamApp(ok)
    async with upstream(app, **target) as adapter:
        await send(adapter, request(headers=[*CREDENTIALS, (b"x-cache-namespace", b"a")]))
    received = [h for h in app.exchanges[0].headers if h[0] != b"host"]
    assert received == expected


def test_a_key_shows_nowhere() -> None:
    assert "hush" not in repr(Target("http://a/v1", api_key="hush"))


async def test_a_refused_connection_is_an_unreachable_upstream() -> None:
    adapter = HttpUpstream(Target(f"http://{HOST}:1/v1"))
    with pytest.raises(UpstreamUnreachable):
        await adapter.send(request())
    await adapter.aclose()


async def test_a_name_that_does_not_resolve_is_an_unreachable_upstream() -> None:
    adapter = HttpUpstream(Target("http://no-such-host.invalid/v1"))
    with pytest.raises(UpstreamUnreachable):
        await adapter.send(request())
    await adapter.aclose()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_a_connection_that_closes_without_an_answer_is_not_asked_again(method: str) -> None:
    connections = 0

    async def close(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")

    async with raw_server(close) as adapter:
        with pytest.raises(UpstreamUnreachable):
            await adapter.send(request(method))
    assert connections == 1


async def test_an_answer_that_is_not_http_is_an_unreachable_upstream() -> None:
    async def garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await writer.drain()

    async with raw_server(garble) as adapter:
        with pytest.raises(UpstreamUnreachable):
            await adapter.send(request())


async def test_silence_before_the_head_is_a_timeout() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side gives up

    async with raw_server(silent, read_timeout=0.05) as adapter:
        with pytest.raises(UpstreamTimeout):
            await adapter.send(request())


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_upstream_that_stops_reading_is_silent_too(streamed: bool) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        await gone.wait()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 65_536

    gone = asyncio.Event()
    body = pieces() if streamed else b"x" * 65_536_000
    async with raw_server(deaf, connect_timeout=0.1, read_timeout=0.2) as adapter:
        with pytest.raises(UpstreamTimeout):
            await adapter.send(request("POST", body=body))
        gone.set()


async def test_a_status_that_is_none_is_an_unreachable_upstream() -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async with raw_server(odd) as adapter:
        with pytest.raises(UpstreamUnreachable):
            await adapter.send(request())


async def test_a_header_that_is_not_utf_8_changes_no_other() -> None:
    app = UpstreamApp(ok)
    headers: list[Header] = [(b"x-latin", b"caf\xe9"), (b"x-utf", b"caf\xc3\xa9")]
    async with upstream(app) as adapter:
        await send(adapter, request(headers=headers))
    assert app.exchanges[0].header(b"x-utf") == [b"caf\xc3\xa9"]


async def test_a_client_that_breaks_off_its_upload_is_no_failure_of_the_upstream() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        raise ClientDisconnected

    async with upstream(UpstreamApp(ok)) as adapter:
        with pytest.raises(ClientDisconnected):
            await adapter.send(request("POST", body=body()))


async def test_silence_in_the_body_is_an_interruption() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.write(b"first")
        await exchange.disconnected()

    async with (
        upstream(UpstreamApp(answer), read_timeout=0.05) as adapter,
        aclosing(await adapter.send(request())) as response,
    ):
        pieces = aiter(response)
        assert await anext(pieces) == b"first"
        with pytest.raises(UpstreamInterrupted):
            await anext(pieces)


@pytest.mark.parametrize(
    "half",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
async def test_a_body_that_breaks_off_is_an_interruption(half: bytes) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(half)
        await writer.drain()

    async with raw_server(cut) as adapter:
        with pytest.raises(UpstreamInterrupted):
            await send(adapter, request())


async def test_leaving_in_the_middle_of_the_body_releases_the_upstream() -> None:
    released = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.start()
        await exchange.write(b"first")
        await exchange.disconnected()
        released.set()

    async with upstream(UpstreamApp(answer)) as adapter:
        async with aclosing(await adapter.send(request())) as response:
            assert await anext(aiter(response)) == b"first"
        await asyncio.wait_for(released.wait(), 5)


async def test_leaving_before_the_head_releases_the_upstream() -> None:
    arrived, released = asyncio.Event(), asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        arrived.set()
        await exchange.read()
        await exchange.disconnected()
        released.set()

    async with upstream(UpstreamApp(answer)) as adapter:
        sending = asyncio.create_task(adapter.send(request()))
        await arrived.wait()
        sending.cancel()
        await asyncio.wait_for(released.wait(), 5)


async def test_long_headers_come_through() -> None:
    long = b"x" * 30_000

    async def answer(exchange: Exchange) -> None:
        await exchange.answer({}, 200, (b"x-long", long))

    async with upstream(UpstreamApp(answer)) as adapter:
        _, headers, _ = await send(adapter, request())
    assert (b"x-long", long) in headers
