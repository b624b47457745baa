"""The proxy limits the bytes that it holds for requests and answers in progress.

Clients that stall cost no other client an answer.
"""

import asyncio
import json
import socket
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.fakes import completion
from tests.servers import Exchange, Setup, UpstreamApp

MEGABYTE = 1_048_576
LARGE = 5 * MEGABYTE  # more than the kernel takes of an answer that nobody reads
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
HIT = "reprise; hit; ttl=3600; detail=exact"
BUFFERED = 1_000_000  # bytes in the buffers of one connection, the client's and upstream's included


def asking(text: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


def request(text: str) -> bytes:
    body = json.dumps(asking(text)).encode()
    return HEAD % len(body) + body


async def answer(exchange: Exchange) -> None:
    """Give a long answer if the question begins with "much". Discard the body of a long request."""
    (length,) = exchange.header(b"content-length")
    if int(length) > 1000:
        async for _ in exchange.pieces():
            exchange.body = b""
        await exchange.answer(completion("swallowed"))
        return
    await exchange.read()
    question = exchange.document["messages"][-1]["content"]
    text = "x" * LARGE if question.startswith("much") else f"Answer to {question}"
    await exchange.answer(completion(text))


class Proxy:
    """A running proxy, an honest client, and clients that stall."""

    def __init__(
        self, upstream: UpstreamApp, client: httpx.AsyncClient, stack: AsyncExitStack
    ) -> None:
        self.upstream = upstream
        self.client = client
        self._stack = stack
        self._stalled: list[socket.socket] = []

    async def ask(self, text: str) -> httpx.Response:
        return await self.client.post("chat/completions", json=asking(text))

    async def embed(self, inputs: list[str]) -> str:
        answer = await self.client.post("embeddings", json={"model": "m", "input": inputs})
        assert answer.status_code == 200
        return answer.headers["cache-status"]

    async def outcome(self, text: str) -> str:
        answer = await self.ask(text)
        assert answer.status_code == 200
        return answer.headers["x-cache"]

    async def stall(self, count: int, sent: bytes) -> None:
        """Let `count` clients send `sent` and read nothing."""
        await asyncio.gather(*(self._stall(sent) for _ in range(count)))

    async def _stall(self, sent: bytes) -> None:
        loop, sock = asyncio.get_running_loop(), socket.socket()
        self._stack.callback(sock.close)
        self._stalled.append(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, (self.client.base_url.host, self.client.base_url.port or 0))
        await loop.sock_sendall(sock, sent)

    def leave(self) -> None:
        """Disconnect all clients that stall."""
        for sock in self._stalled:
            sock.close()

    async def metric(self, name: str) -> float:
        metrics = (await self.client.get("../metrics")).text
        return sum(float(m.split()[-1]) for m in metrics.splitlines() if m.startswith(name))

    async def until_held(self, low: float, high: float) -> None:
        """Wait until the proxy holds between `low` and `high` bytes of requests and answers."""
        async with asyncio.timeout(20):
            while not low <= await self.metric("reprise_inflight_bytes") <= high:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def proxy_with(**settings: Any) -> AsyncIterator[Proxy]:
    setup = Setup(**settings)
    setup.upstream.handler = answer
    async with (
        setup.run() as url,
        httpx.AsyncClient(base_url=url, timeout=30) as client,
        AsyncExitStack() as stack,
    ):
        yield Proxy(setup.upstream, client, stack)


async def test_what_is_read_and_answered_is_held_no_longer() -> None:
    async with proxy_with() as proxy:
        assert [await proxy.outcome("much") for _ in range(2)] == ["MISS", "HIT"]
        assert (await proxy.ask("valkey " * 100_000)).status_code == 200
        await proxy.until_held(0, 0)


async def test_bodies_that_do_not_end_are_streamed_once_there_are_too_many() -> None:
    most, count, size = 8 * MEGABYTE, 20, 4 * MEGABYTE
    tracemalloc.start()
    try:
        async with proxy_with(max_inflight_bytes=most) as proxy:
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            await proxy.stall(count, HEAD % (size + 1) + b" " * size)
            _, peak = tracemalloc.get_traced_memory()
            assert await proxy.outcome("valkey what") in {"MISS", "HIT"}
            assert await proxy.metric("reprise_inflight_bytes") < most + count * 65_536
    finally:
        tracemalloc.stop()
    assert peak - before < most + count * BUFFERED < count * size


async def test_clients_that_do_not_read_are_not_held_more_than_there_is_room_for() -> None:
    most, count = 16 * MEGABYTE, 12
    async with proxy_with(max_inflight_bytes=most) as proxy:
        assert await proxy.outcome("small") == "MISS"
        assert await proxy.outcome("much") == "MISS"
        await proxy.until_held(0, 0)
        await proxy.stall(count, request("much"))
        await proxy.until_held(most, 2 * most)
        assert await proxy.outcome("small") == "HIT"
        assert await proxy.outcome("much") == "MISS"
        assert [await proxy.outcome("pasta") for _ in range(2)] == ["MISS", "MISS"]
        assert await proxy.metric('reprise_not_stored_total{reason="no-room"}') >= 2
        past = await proxy.ask("long " * 20_000)
        assert past.headers["cache-status"].endswith("fwd=bypass; detail=no-room")
        await proxy.until_held(most, 2 * most)
        proxy.leave()
        await proxy.until_held(0, 0)
        assert [await proxy.outcome("pasta") for _ in range(2)] == ["MISS", "HIT"]
        assert await proxy.outcome("much") == "HIT"


async def test_who_does_not_read_for_too_long_is_cut_off() -> None:
    async with proxy_with(client_timeout=0.5) as proxy:
        await proxy.outcome("much")
        await proxy.stall(3, request("much"))
        await proxy.until_held(3 * LARGE, 4 * LARGE)
        await proxy.until_held(0, 0)
        assert await proxy.outcome("much") == "HIT"


async def test_who_reads_slowly_gets_everything() -> None:
    async with proxy_with(client_timeout=0.3) as proxy:
        await proxy.outcome("much")
        url = proxy.client.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port, limit=65_536)
        writer.write(request("much"))
        got = b""
        while len(got) < LARGE:
            got += await reader.read(1 << 20)
            await asyncio.sleep(0.01)
        writer.close()
        assert b"x" * LARGE in got


async def test_many_stored_embeddings_are_asked_for_anew_where_there_is_no_room() -> None:
    many = [f"input {number}" for number in range(500)]

    async def embed(exchange: Exchange) -> None:
        await exchange.read()
        data = [
            {"object": "embedding", "index": index, "embedding": [0.5] * 64}
            for index in range(len(exchange.document["input"]))
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        await exchange.answer({"object": "list", "data": data, "model": "m", "usage": usage})

    async with proxy_with(max_inflight_bytes=MEGABYTE) as proxy:
        proxy.upstream.handler = embed
        assert [await proxy.embed(many) for _ in range(2)] == ["reprise; fwd=miss", HIT]
        assert await proxy.embed(many[:1]) == HIT
        await proxy.stall(20, HEAD % 65_536 + b" " * 60_000)
        await proxy.until_held(MEGABYTE, 2 * MEGABYTE)
        assert await proxy.embed(many) == "reprise; fwd=bypass; detail=no-room"
        assert await proxy.embed(many[:1]) == HIT


@pytest.mark.parametrize("path", ["chat/completions", "files"])
async def test_at_twice_the_bound_no_request_is_let_in(path: str) -> None:
    async with proxy_with(max_inflight_bytes=MEGABYTE) as proxy:
        await proxy.stall(36, HEAD % 65_536 + b" " * 60_000)
        await proxy.until_held(2 * MEGABYTE, 3 * MEGABYTE)
        refused = await proxy.client.post(path, json=asking("valkey what"))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["code"] == "too_busy"
        assert (await proxy.client.get("../healthz")).status_code == 200
        proxy.leave()
        await proxy.until_held(0, 0)
        assert await proxy.outcome("valkey what") == "MISS"


async def test_a_large_answer_is_sent_as_it_is_read() -> None:
    """The proxy writes only a small part of the answer to a client that does not read."""
    async with proxy_with() as proxy:
        await proxy.outcome("much")
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await proxy.stall(1, request("much"))
            await proxy.until_held(LARGE, 2 * LARGE)
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert held < LARGE + BUFFERED  # the replay itself, and not once more in a buffer
