"""Streams on real sockets: the first byte, broken streams, disconnects, collapsed requests."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from app.core.models import Header
from tests.servers import STREAM_TYPE, Exchange, Setup

JSON: Header = (b"content-type", b"application/json")


@pytest.fixture
def setup() -> Setup:
    return Setup(upstream_timeout=0.5)


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    async with setup.run() as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
        yield client


def chat(question: str = "valkey what", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": question}], **fields}


def event(index: int) -> bytes:
    choice = {"index": 0, "delta": {"content": f"{index} "}, "finish_reason": None}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"total_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"
WITH_USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


class Paced:
    """An upstream that streams an event whenever the test lets it."""

    def __init__(self) -> None:
        self.permits = asyncio.Semaphore(0)
        self.sent = 0
        self.released = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, STREAM_TYPE)
        sending = asyncio.create_task(self.send(exchange))
        leaving = asyncio.create_task(exchange.disconnected())
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            self.released.set()
        for task in (sending, leaving):
            task.cancel()
        await asyncio.wait({sending, leaving})

    async def send(self, exchange: Exchange) -> None:
        for index in range(5):
            await self.permits.acquire()
            self.sent += 1
            await exchange.write(event(index))
        usage = USAGE if "stream_options" in exchange.document else b""
        await exchange.write(FINISH + usage + DONE)
        await exchange.end()

    def let(self, events: int) -> None:
        for _ in range(events):
            self.permits.release()


async def collapsed(setup: Setup, requests: int) -> None:
    """Wait until `requests` requests have joined the flight of another one."""
    registry = setup.metrics.registry
    while registry.get_sample_value("reprise_collapsed_requests_total") != requests:
        await asyncio.sleep(0.002)


async def test_the_first_token_arrives_before_the_third_is_sent(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    setup.upstream.handler = upstream = Paced()
    upstream.let(1)
    async with client.stream("POST", "chat/completions", json=chat(stream=True)) as response:
        pieces = response.aiter_raw()
        assert await anext(pieces) == event(0)
        assert upstream.sent == 1
        upstream.let(4)
        rest = b"".join([piece async for piece in pieces])
    assert rest == b"".join(map(event, range(1, 5))) + FINISH + DONE


async def test_a_miss_is_passed_on_byte_for_byte(client: httpx.AsyncClient, setup: Setup) -> None:
    body = b': hello\r\n\r\nevent: message\r\ndata:{"choices" : []}\r\n\r\n' + FINISH + DONE

    async def odd(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, STREAM_TYPE, (b"x-a", b"1"), (b"x-a", b"2"))
        for at in range(0, len(body), 3):
            await exchange.write(body[at : at + 3])
        await exchange.end()

    setup.upstream.handler = odd
    async with client.stream("POST", "chat/completions", json=chat(stream=True)) as response:
        assert b"".join([piece async for piece in response.aiter_raw()]) == body
    assert response.headers.get_list("x-a") == ["1", "2"]
    assert response.headers["cache-status"] == "reprise; fwd=miss"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_breaks_off_is_cut_for_the_client_too(
    client: httpx.AsyncClient, setup: Setup, stream: bool
) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.read()
        headers = [STREAM_TYPE] if stream else [JSON, (b"content-length", b"1000")]
        await exchange.start(200, *headers)
        await exchange.write(event(0))
        # Returning without an end makes the server close the connection.

    setup.upstream.handler = cut
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("chat/completions", json=chat(stream=stream))
    assert len(setup.upstream.exchanges) == 2


async def test_silence_in_the_middle_cuts_the_stream(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    setup.upstream.handler = upstream = Paced()
    upstream.let(1)
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post("chat/completions", json=chat(stream=True))
    await asyncio.wait_for(upstream.released.wait(), 5)


async def test_a_follower_joins_a_stream_from_its_first_byte(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    setup.upstream.handler = upstream = Paced()
    async with AsyncExitStack() as stack:

        async def ask() -> AsyncIterator[bytes]:
            response = await stack.enter_async_context(
                client.stream("POST", "chat/completions", json=chat(stream=True))
            )
            statuses.append(response.headers["cache-status"])
            return response.aiter_raw()

        statuses: list[str] = []
        upstream.let(2)
        leader = await ask()
        seen = b""
        while seen != event(0) + event(1):
            seen += await anext(leader)
        follower = await ask()
        joined = b""
        while joined != seen:
            joined += await anext(follower)
        upstream.let(3)
        bodies = [
            before + b"".join([piece async for piece in pieces])
            for before, pieces in ((seen, leader), (joined, follower))
        ]
    assert bodies[0] == bodies[1] == b"".join(map(event, range(5))) + FINISH + DONE
    assert statuses == ["reprise; fwd=miss", "reprise; fwd=miss; collapsed"]
    assert len(setup.upstream.exchanges) == 1


async def test_the_first_client_leaving_breaks_none_of_the_others(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    setup.upstream.handler = upstream = Paced()
    upstream.let(1)
    async with client.stream("POST", "chat/completions", json=chat(stream=True)) as first:
        await anext(first.aiter_raw())
        second = asyncio.create_task(client.post("chat/completions", json=chat(stream=True)))
        await collapsed(setup, 1)
    upstream.let(4)
    assert (await second).content.endswith(DONE)
    assert not upstream.released.is_set()
    again = await client.post("chat/completions", json=chat(stream=True))
    assert again.headers["x-cache"] == "HIT"


async def test_when_the_last_client_leaves_the_upstream_is_released(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    setup.upstream.handler = upstream = Paced()
    upstream.let(1)
    async with client.stream("POST", "chat/completions", json=chat(stream=True)) as response:
        await anext(response.aiter_raw())
    await asyncio.wait_for(upstream.released.wait(), 5)


async def test_many_concurrent_identical_misses_make_one_upstream_request(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    setup.upstream.handler = upstream = Paced()
    asking = [
        asyncio.create_task(client.post("chat/completions", json=chat(stream=True)))
        for _ in range(30)
    ]
    await collapsed(setup, 29)
    upstream.let(5)
    answers = await asyncio.gather(*asking)
    assert len({answer.content for answer in answers}) == 1
    assert len(setup.upstream.exchanges) == 1


async def test_a_client_that_has_read_to_done_and_asks_again_hits(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    held = asyncio.Event()

    async def never_closes(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, STREAM_TYPE)
        await exchange.write(event(0) + FINISH + USAGE + DONE)
        await held.wait()

    setup.upstream.handler = never_closes
    async with client.stream("POST", "chat/completions", json=chat(**WITH_USAGE)) as response:
        body = b""
        async for piece in response.aiter_raw():
            body += piece
            if DONE in body:
                break
        for stream in (False, True):
            again = await client.post("chat/completions", json=chat(stream=stream))
            assert again.headers["x-cache"] == "HIT"
    held.set()
