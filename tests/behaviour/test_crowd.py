"""Many clients ask for one answer: one upstream request, equal answers, and one slow client."""

import asyncio
import json
from typing import Any

import aiohttp
import httpx
import pytest

from tests.behaviour.test_streams import WITH_USAGE, Paced, chat, collapsed, event
from tests.servers import STREAM_TYPE, Exchange, Setup

CROWD = 500
TEXT = "".join(f"{index} " for index in range(5))


async def ask(session: aiohttp.ClientSession, number: int) -> str:
    """Ask, for a stream if `number` is even, and return the text of the answer."""
    path = "v1/chat/completions"
    form = {} if number % 2 else WITH_USAGE
    async with session.post(path, json=chat(**form)) as answer:
        assert answer.status == 200
        if number % 2:
            content: str = (await answer.json())["choices"][0]["message"]["content"]
            return content
        *events, done = (await answer.text()).strip().split("\n\n")
    assert done == "data: [DONE]"
    chunks: list[Any] = [json.loads(told.removeprefix("data: ")) for told in events]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


@pytest.mark.parametrize("leader_leaves", [False, True])
async def test_five_hundred_who_ask_at_once_make_one_upstream_request(leader_leaves: bool) -> None:
    setup = Setup()
    setup.upstream.handler = upstream = Paced()
    async with (
        setup.run() as url,
        aiohttp.ClientSession(
            url.removesuffix("v1"), connector=aiohttp.TCPConnector(limit=0)
        ) as session,
    ):
        leader = asyncio.create_task(ask(session, 0))
        while not setup.upstream.exchanges:
            await asyncio.sleep(0)
        others = [asyncio.create_task(ask(session, number)) for number in range(1, CROWD)]
        await collapsed(setup, CROWD - 1)
        upstream.let(2)
        while upstream.sent < 2:
            await asyncio.sleep(0)
        if leader_leaves:
            leader.cancel()
            await asyncio.wait({leader})
        upstream.let(3)
        texts = await asyncio.gather(*others)
        if not leader_leaves:
            texts.append(await leader)
        assert set(texts) == {TEXT}
        assert len(setup.upstream.exchanges) == 1
        assert await ask(session, 1) == TEXT
        assert len(setup.upstream.exchanges) == 1


async def test_a_client_that_does_not_read_slows_nobody_and_is_cut_off() -> None:
    """The answer is many times larger than the part of it that may be kept in memory."""
    window = 65_536
    setup = Setup(max_body_bytes=window)
    piece = event(0) * 1000
    pieces = 600
    started = asyncio.Event()

    async def large(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, STREAM_TYPE)
        await started.wait()
        for _ in range(pieces):
            await exchange.write(piece)
        await exchange.end()

    setup.upstream.handler = large
    body = json.dumps(chat(stream=True)).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"
    async with setup.run() as url, httpx.AsyncClient(base_url=url, timeout=50) as client:
        address = httpx.URL(url)
        reader, writer = await asyncio.open_connection(address.host, address.port, limit=1024)
        writer.write(request % len(body) + body)
        while not setup.upstream.exchanges:
            await asyncio.sleep(0)
        reading = asyncio.create_task(client.post("chat/completions", json=chat(stream=True)))
        await collapsed(setup, 1)
        started.set()
        async with asyncio.timeout(30):
            assert (await reading).content == piece * pieces
        seen = b""
        while got := await reader.read(1 << 20):
            seen += got
        writer.close()
        assert b"200 OK" in seen
        assert len(seen) < len(piece) * pieces
