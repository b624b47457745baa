"""HTTP as clients may send it: heads in pieces, offers of other protocols, pipelined requests."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.servers import Exchange, Setup, echo, until_closed

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "valkey what"}]}).encode()
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAE\r\n"


def request(extra: bytes = b"", body: bytes = BODY) -> bytes:
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s"
    ) % (extra, len(body), body)


CHUNKED = b"".join(
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n",
        OFFER,
        b"\r\n",
        *(b"%x\r\n%s\r\n" % (len(p), p) for p in (BODY[:20], BODY[20:])),
        b"0\r\n\r\n",
    ]
)


@pytest.fixture
async def setup() -> AsyncIterator[tuple[Setup, str, int]]:
    async with Setup().run_on_socket() as told:
        yield told


async def talk(host: str, port: int, pieces: Iterable[bytes], answers: int) -> list[bytes]:
    """Send each piece in its own packet. Read `answers` answers, and return them."""
    reader, writer = await asyncio.open_connection(host, port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.01)  # a packet of its own is a matter of time
    told = []
    for _ in range(answers):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        told.append(head.split(b"\r\n")[0] + b" " + await reader.readexactly(length))
    writer.close()
    await writer.wait_closed()
    return told


def split(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize(
    "pieces",
    [
        [request()],
        [request(OFFER)],
        [request(OFFER)[: -len(BODY)], BODY],
        split(request(OFFER), 40),
        [CHUNKED],
        split(CHUNKED, 50),
        [request(b"upgrade:HTTP/2.0\r\nconnection:upgrade\r\n")],
        [request(b"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n")],
        [b"\r\n\r\n" + request(b"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n")],
        [request().replace(b"%d\r\n\r\n" % len(BODY), b"%d \t\r\n\r\n" % len(BODY))],
    ],
)
async def test_an_offer_of_another_protocol_is_ignored(
    setup: tuple[Setup, str, int], pieces: list[bytes]
) -> None:
    proxy, host, port = setup
    (answer,) = await talk(host, port, pieces, 1)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Answer to valkey what" in answer
    assert [exchange.body for exchange in proxy.upstream.exchanges] == [BODY]


@pytest.mark.parametrize("size", [10_000, 700, 64, 7])
async def test_requests_may_follow_each_other_without_waiting(
    setup: tuple[Setup, str, int], size: int
) -> None:
    _, host, port = setup
    stream = request(OFFER) + request() + CHUNKED.replace(OFFER, b"") + request()
    answers = await talk(host, port, split(stream, size), 4)
    assert all(b" 200 " in answer and b"Answer to valkey what" in answer for answer in answers)


@pytest.mark.parametrize("before_end", [1, 2, 3, 4, 5, 40])
async def test_a_head_that_begins_in_the_packet_of_another_request_may_end_in_the_next(
    setup: tuple[Setup, str, int], before_end: int
) -> None:
    _, host, port = setup
    stream = request() + request(body=b"{}")[:-2] + b"{}"
    at = len(request()) + len(request(body=b"{}")) - 2 - before_end
    answers = await talk(host, port, [stream[:at], stream[at:]], 2)
    assert b"Answer to valkey what" in answers[0]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),  # TLS
        b"GET /v1/models HTTP/1.1\nHost: localhost\n\n",
        b"nonsense\r\n",
    ],
)
async def test_what_is_no_request_is_refused_at_once(
    setup: tuple[Setup, str, int], garbage: bytes
) -> None:
    _, host, port = setup
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(garbage)
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 400")
    writer.close()
    await writer.wait_closed()


CHUNKS: list[dict[str, Any]] = [
    {"model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}}]},
    {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
]
STREAMED = BODY[:-1] + b', "stream": true}'


async def stream(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.stream(*CHUNKS)


async def test_a_client_of_http_1_0_gets_a_stream_without_chunks(
    setup: tuple[Setup, str, int],
) -> None:
    proxy, host, port = setup
    proxy.upstream.handler = stream
    bodies = []
    for _ in range(2):
        told = await until_closed(host, port, request(body=STREAMED).replace(b"/1.1", b"/1.0"))
        head, _, body = told.partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert body.startswith(b"data: {")
        assert body.endswith(b"data: [DONE]\n\n")
        bodies.append(body)
    assert bodies[0].count(b"\n\n") == 3
    proxy.upstream.handler = echo
    plain = request(body=BODY.replace(b"what", b"why")).replace(b"/1.1", b"/1.0")
    assert b"\r\ncontent-length: " in await until_closed(host, port, plain)


@pytest.mark.parametrize("body", [BODY, STREAMED])
async def test_a_client_that_has_closed_its_side_gets_its_answer(
    setup: tuple[Setup, str, int], body: bytes
) -> None:
    proxy, host, port = setup
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        asked.set()
        await may_answer.wait()
        await (stream(exchange) if body is STREAMED else echo(exchange))

    proxy.upstream.handler = slow
    talk = asyncio.create_task(until_closed(host, port, request(body=body), half_close=True))
    await asked.wait()
    may_answer.set()
    told = await talk
    assert told.startswith(b"HTTP/1.1 200")
    assert (b"[DONE]" if body is STREAMED else b"Answer to valkey what") in told
    again = await until_closed(host, port, request(body=body), half_close=True)
    assert b"x-cache: HIT" in again


async def test_a_client_that_has_left_altogether_is_told_from_one_that_has_closed_its_side(
    setup: tuple[Setup, str, int],
) -> None:
    proxy, host, port = setup
    asked, released = asyncio.Event(), asyncio.Event()

    async def never(exchange: Exchange) -> None:
        await exchange.read()
        asked.set()
        await exchange.disconnected()
        released.set()

    proxy.upstream.handler = never
    _, writer = await asyncio.open_connection(host, port)
    writer.write(request())
    await asked.wait()
    writer.close()
    await asyncio.wait_for(released.wait(), 10)


@pytest.mark.parametrize("control", [b"\x00", b"\x01", b"\x0b", b"\x1f", b"\x7f"])
async def test_a_control_byte_in_an_upstreams_header_is_a_bad_answer(control: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX-A: a%sb\r\nContent-Length: 0\r\n\r\n" % control)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as upstream:
        at = upstream.sockets[0].getsockname()[1]
        async with Setup().run_before(f"http://127.0.0.1:{at}/v1") as url:
            parts = urlsplit(url)
            (told,) = await talk(parts.hostname or "", parts.port or 0, [request()], 1)
    assert told.startswith(b"HTTP/1.1 502")


async def test_a_websocket_is_refused_in_openais_shape(setup: tuple[Setup, str, int]) -> None:
    _, host, port = setup
    upgrade = (
        b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        b"Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n"
    )
    (answer,) = await talk(host, port, [upgrade], 1)
    assert answer.startswith(b"HTTP/1.1 501")
    assert b"websocket_unsupported" in answer


FILES = b"/v1/files HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"CONNECT localhost:443 HTTP/1.1\r\n" + HOST, 501, "http_unsupported"),
        (b"CONNECT " + FILES + HOST, 501, "http_unsupported"),
        (b"TRACE " + FILES + HOST, 501, "http_unsupported"),
        (b"GET " + FILES, 400, "invalid_request"),
        (b"GET " + FILES + HOST + HOST, 400, "invalid_request"),
        (b"GET " + FILES + HOST + b"host: other\r\n", 400, "invalid_request"),
        (b"GET /v1/files HTTP/1.0\r\n" + HOST + HOST, 400, "invalid_request"),
        (
            b"POST " + FILES + HOST + b"Transfer-Encoding: gzip, chunked\r\n",
            501,
            "http_unsupported",
        ),
        (b"GET /v1/..;/x HTTP/1.1\r\n" + HOST, 403, "passthrough_disabled"),
        (b"GET /v1/..\\x HTTP/1.1\r\n" + HOST, 403, "passthrough_disabled"),
        (b"GET /v1/%252e%252e/x HTTP/1.1\r\n" + HOST, 403, "passthrough_disabled"),
    ],
)
async def test_what_others_could_take_for_another_request_goes_nowhere(
    setup: tuple[Setup, str, int], sent: bytes, status: int, code: str
) -> None:
    proxy, host, port = setup
    answer = await until_closed(host, port, sent + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == code
    assert answer.count(b"HTTP/1.1 ") == 1
    assert proxy.upstream.exchanges == []


async def test_a_request_of_http_1_0_needs_no_host(setup: tuple[Setup, str, int]) -> None:
    _, host, port = setup
    answer = await until_closed(host, port, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
