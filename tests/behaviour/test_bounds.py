"""How much memory a client without a key can make a connection use: almost none."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from tests.servers import Exchange, Setup, until_closed

MEGABYTE = 1_048_576
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "valkey what"}]}).encode()
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = CHAT + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
WHOLE = CHUNKED + b"\r\n%x\r\n%s\r\n" % (len(BODY), BODY)


@pytest.fixture
async def setup() -> AsyncIterator[tuple[Setup, str, int]]:
    async with Setup().run_on_socket() as told:
        yield told


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


async def flood(host: str, port: int, begin: bytes, unit: bytes) -> tuple[bytes, int]:
    """Send `begin`, and repeat `unit` until refused. Return the answer and the peak of memory.

    The peak is in bytes. It counts the memory of client and server together.
    """
    reader, writer = await asyncio.open_connection(host, port)
    answer = asyncio.ensure_future(reader.read())
    many = unit * max(1, 65_536 // len(unit))
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    try:
        writer.write(begin)
        for _ in range(16 * MEGABYTE // len(many)):
            writer.write(many)
            await writer.drain()
            if answer.done():
                break
        _, peak = tracemalloc.get_traced_memory()
        return await asyncio.wait_for(answer, 5), peak - before
    finally:
        writer.close()


def error_of(answer: bytes) -> dict[str, str]:
    error: dict[str, str] = json.loads(answer.rpartition(b"\r\n\r\n")[2])["error"]
    return error


@pytest.mark.parametrize(
    ("begin", "unit", "answered"),
    [
        (HEALTH, b"1:\r\n", 0),
        (b"\r\n" + HEALTH, b"1:\r\n", 0),
        (b"\r\n\n\r" + HEALTH, b"1:\r\n", 0),
        (HEALTH + b"\r\n" + HEALTH, b"1:\r\n", 1),
        (HEALTH + b"\r\n\r\n" + HEALTH, b"1:\r\n", 1),
        ((HEALTH + b"\r\n") * 2 + HEALTH, b"1:\r\n", 2),
        (WHOLE + b"0\r\n\r\n" + HEALTH, b"1:\r\n", 1),
        (WHOLE + b"0\r\n", b"1:\r\n", 0),
        (HEALTH + b"\r\n" + WHOLE + b"0\r\n", b"1:\r\n", 1),
        (WHOLE + b"0\r\nX: ", b"x", 0),
        (WHOLE + b"0\r\n", b"x", 0),
        (HEALTH + b"X-Long: ", b"x", 0),
        (HEALTH, b"x", 0),
        (HEALTH + b"X-Folded: 1\r\n", b" x\r\n", 0),
        (b"GET /", b"x", 0),
        (b"\r\nGET /", b"x", 0),
        (HEALTH + b"\r\nGET /", b"x", 1),
        (b"", b"GET", 0),
        (CHUNKED + b"\r\n1;", b"x", 0),
        (CHUNKED + b"\r\n", b"1;" + b"x" * 1000 + b"\r\n{\r\n", 0),
        (WHOLE + b"0;", b"x", 0),
        (CHUNKED + b"\r\n", b"0", 0),
        (b"", b"\r\n", 0),
        (HEALTH + b"\r\n", b"\r\n", 1),
    ],
)
@pytest.mark.usefixtures("traced")
async def test_what_has_no_end_is_refused_and_not_kept(
    setup: tuple[Setup, str, int], begin: bytes, unit: bytes, answered: int
) -> None:
    proxy, host, port = setup
    answer, held = await flood(host, port, begin, unit)
    assert held < 3 * MEGABYTE
    assert answer.count(b"HTTP/1.1 200 ") == answered
    assert answer.count(b"HTTP/1.1 ") == answered + 1
    refused = answer.partition(b"HTTP/1.1 4")[2]
    assert refused[:3] in {b"31 ", b"00 "}  # 400 for what the parser knows to be wrong at once
    assert b"\r\nconnection: close\r\n" in refused
    assert error_of(answer)["code"] in {"head_too_large", "invalid_request"}
    assert len(proxy.upstream.exchanges) == answer.count(b"chatcmpl")


async def test_trailers_after_a_long_body_are_bounded(setup: tuple[Setup, str, int]) -> None:
    _, host, port = setup
    body = b"%x\r\n%s\r\n" % (MEGABYTE, b" " * MEGABYTE) * 10
    answer, _ = await flood(host, port, CHUNKED + b"\r\n" + body + b"0\r\n", b"1:\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert error_of(answer)["code"] == "head_too_large"


LAST = HEALTH + b"Connection: close\r\n\r\n"


@pytest.mark.parametrize("size", [100_000, 1000, 3, 1])
@pytest.mark.parametrize("path", [b"chat/completions", b"files"])
async def test_trailers_are_no_headers(
    setup: tuple[Setup, str, int], path: bytes, size: int
) -> None:
    proxy, host, port = setup
    sent = WHOLE + b"0\r\nX-Forwarded-User: admin\r\nAuthorization: Bearer x\r\n\r\n" + LAST
    answer = await until_closed(host, port, sent.replace(b"chat/completions", path), size=size)
    assert answer.count(b"HTTP/1.1 200 ") == 2
    (asked,) = proxy.upstream.exchanges
    assert asked.body == BODY
    assert not asked.header(b"x-forwarded-user")
    assert not asked.header(b"authorization")


@pytest.mark.parametrize("size", [100_000, 1000, 17])
async def test_what_a_message_may_hold_does_not_add_up_over_a_connection(
    setup: tuple[Setup, str, int], size: int
) -> None:
    _, host, port = setup
    long = HEALTH + b"X: %s\r\n" % (b"x" * 9000)
    stream = (b"\r\n" * 50 + long + b"\r\n") * 10
    answer = await until_closed(host, port, stream + LAST, size=size)
    assert answer.count(b"HTTP/1.1 200 ") == 11


async def test_a_body_in_tiny_chunks_is_no_abuse(setup: tuple[Setup, str, int]) -> None:
    proxy, host, port = setup
    body = json.dumps({"model": "m", "messages": [], "padding": "x" * 50_000}).encode()
    chunks = b"".join(b"1;a=b\r\n%c\r\n" % byte for byte in body)
    answer = await until_closed(host, port, CHUNKED + b"\r\n" + chunks + b"0\r\n\r\n" + LAST)
    assert answer.count(b"head_too_large") == 0
    assert [asked.body for asked in proxy.upstream.exchanges] == [body]


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAE\r\n"
MULTIPART = b"--a\r\nX: 1\r\n\r\none\r\n--a\r\nX: 2\r\n\r\n0\r\n\r\n--a--\r\n\r\n"


async def accept(asked: Exchange) -> None:
    await asked.read()
    await asked.answer({})


@pytest.mark.parametrize("size", [100_000, 100, 7, 3, 2, 1])
async def test_whatever_follows_a_body_of_unknown_length_is_the_next_request(
    setup: tuple[Setup, str, int], size: int
) -> None:
    proxy, host, port = setup
    head = b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n" + OFFER
    upload = head + b"\r\n%x\r\n%s\r\n0\r\n" % (len(MULTIPART), MULTIPART)
    known = CHAT + OFFER + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)

    proxy.upstream.handler = accept
    stream = upload + b"\r\n" + known + upload + b"A: b\r\n\r\n" + known + LAST
    answer = await until_closed(host, port, stream, size=size)
    assert answer.count(b"HTTP/1.1 200 ") == 5
    bodies = [asked.body for asked in proxy.upstream.exchanges]
    assert bodies == [MULTIPART, BODY, MULTIPART, BODY]


async def test_a_body_that_is_full_of_what_ends_bodies_arrives_whole(
    setup: tuple[Setup, str, int],
) -> None:
    proxy, host, port = setup
    proxy.upstream.handler = accept
    body = b"0\r\n\r\n" * 100_000
    upload = CHUNKED.replace(b"chat/completions", b"files")
    sent = upload + b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    answer = await until_closed(host, port, sent + HEALTH + b"\r\n" + LAST)
    assert answer.count(b"HTTP/1.1 200 ") == 3
    assert proxy.upstream.exchanges[0].body == body


@pytest.mark.usefixtures("traced")
async def test_requests_that_wait_for_an_answer_are_not_read_without_end(
    setup: tuple[Setup, str, int],
) -> None:
    proxy, host, port = setup
    asked, answered = asyncio.Event(), asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await exchange.read()
        asked.set()
        await answered.wait()
        await exchange.answer({})

    proxy.upstream.handler = slow
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(CHAT + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY))
    await asked.wait()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    many = (HEALTH + b"\r\n") * 1000

    async def send() -> None:
        for _ in range(100 * MEGABYTE // len(many)):
            writer.write(many)
            await writer.drain()

    with pytest.raises(TimeoutError):  # the kernel takes a few megabytes, and then no more
        await asyncio.wait_for(send(), 2)
    _, peak = tracemalloc.get_traced_memory()
    assert peak - before < 3 * MEGABYTE
    answered.set()
    for _ in range(200):
        await reader.readuntil(b"HTTP/1.1 200 ")
    writer.transport.abort()


async def test_who_leaves_with_a_request_that_waits_is_noticed(
    setup: tuple[Setup, str, int],
) -> None:
    proxy, host, port = setup
    asked, gone = asyncio.Event(), asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await exchange.read()
        asked.set()
        await exchange.disconnected()
        gone.set()

    proxy.upstream.handler = slow
    _, writer = await asyncio.open_connection(host, port)
    writer.write(CHAT + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY))
    writer.write(HEALTH + b"\r\n")
    await asked.wait()
    writer.close()
    await asyncio.wait_for(gone.wait(), 5)


async def test_nothing_is_said_in_the_middle_of_an_answer(setup: tuple[Setup, str, int]) -> None:
    proxy, host, port = setup

    async def early(exchange: Exchange) -> None:
        await exchange.start(200)
        await exchange.write(b"begun")
        await exchange.disconnected()

    proxy.upstream.handler = early
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(CHUNKED.replace(b"chat/completions", b"files") + b"\r\n1\r\na\r\n")
    told = await reader.readuntil(b"begun")
    writer.write(b"0\r\n" + b"1:\r\n" * 50_000)
    with suppress(ConnectionResetError):
        while piece := await asyncio.wait_for(reader.read(100), 5):
            told += piece
    assert told.count(b"HTTP/1.1 ") == 1
    writer.close()


async def test_who_was_refused_already_is_not_refused_again() -> None:
    async with Setup(api_keys=["sk-right"]).run_on_socket() as (_, host, port):
        begin = CHUNKED + b"\r\n1\r\n{\r\n0\r\n"
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(begin)
        told = await reader.readuntil(b"}")
        writer.write(b"1:\r\n" * 50_000)
        told += await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert told.startswith(b"HTTP/1.1 401 ")
    assert told.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("fields", [1000, 1001])
async def test_a_thousand_fields_are_enough(setup: tuple[Setup, str, int], fields: int) -> None:
    _, host, port = setup
    sent = LAST.replace(b"\r\n\r\n", b"\r\n" + b"a:b\r\n" * (fields - 2) + b"\r\n")
    answer = await until_closed(host, port, sent)
    assert answer.startswith(b"HTTP/1.1 200 " if fields == 1000 else b"HTTP/1.1 431 ")


async def test_a_head_that_is_too_long_goes_nowhere_even_if_it_comes_whole(
    setup: tuple[Setup, str, int],
) -> None:
    proxy, host, port = setup
    sent = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n" % (b"x" * 66_000)
    answer = await until_closed(host, port, sent)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert proxy.upstream.exchanges == []
