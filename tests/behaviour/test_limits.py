"""Limits of requests at the same time, if an operator sets them."""

import asyncio
import json
from contextlib import suppress

import httpx
import pytest
from openai import AsyncOpenAI

from tests.servers import Exchange, Setup, echo, until_closed

CHAT = {"model": "m", "messages": [{"role": "user", "content": "valkey what"}]}
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Slow:
    """An upstream that answers when the test tells it to."""

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read()
        self.is_asked.set()
        await self.may_answer.wait()
        await echo(exchange)


async def test_more_requests_than_may_be_at_once_are_told_to_come_again() -> None:
    setup, slow = Setup(max_concurrent=1, admin_token="t"), Slow()  # noqa: S106
    setup.upstream.handler = slow
    async with setup.run() as url, httpx.AsyncClient(base_url=url, timeout=5) as client:
        first = asyncio.ensure_future(client.post("chat/completions", json=CHAT))
        await slow.is_asked.wait()
        second = await client.post("chat/completions", json=CHAT)
        assert (second.status_code, second.headers["retry-after"]) == (503, "1")
        assert second.json()["error"] == {
            "message": "The proxy is answering too many requests; try again later.",
            "type": "server_error",
            "param": None,
            "code": "too_busy",
        }
        root = url.removesuffix("/v1")
        for path in ("/healthz", "/readyz", "/metrics", "/cache/stats"):
            told = await client.get(root + path, headers={"Authorization": "Bearer t"})
            assert told.status_code == 200
        slow.may_answer.set()
        assert (await first).status_code == 200
        assert (await client.post("chat/completions", json=CHAT)).headers["x-cache"] == "HIT"


async def test_a_request_without_its_key_takes_no_place_and_is_told_so() -> None:
    setup, slow = Setup(max_concurrent=1, api_keys="k"), Slow()
    setup.upstream.handler = slow
    async with setup.run() as url, httpx.AsyncClient(base_url=url, timeout=5) as client:
        key = {"Authorization": "Bearer k"}
        first = asyncio.ensure_future(client.post("chat/completions", json=CHAT, headers=key))
        await slow.is_asked.wait()
        assert (await client.post("chat/completions", json=CHAT)).status_code == 401
        slow.may_answer.set()
        assert (await first).status_code == 200


async def test_a_client_that_leaves_gives_its_place_to_another() -> None:
    setup, slow = Setup(max_concurrent=1), Slow()
    setup.upstream.handler = slow
    async with setup.run() as url, httpx.AsyncClient(base_url=url, timeout=5) as client:
        first = asyncio.ensure_future(client.post("chat/completions", json=CHAT))
        await slow.is_asked.wait()
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        slow.may_answer.set()
        async with AsyncOpenAI(api_key="k", base_url=url, max_retries=5) as sdk:
            assert await sdk.chat.completions.create(**CHAT)  # type: ignore[call-overload]


@pytest.mark.parametrize("sent", [HEALTH, b""])
async def test_more_connections_of_a_client_than_may_be_are_refused(sent: bytes) -> None:
    async with Setup(max_connections=2).run_on_socket() as (_, host, port):
        held = [await asyncio.open_connection(host, port) for _ in range(2)]
        for reader, writer in held:
            writer.write(HEALTH)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        answer = await until_closed(host, port, sent)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in head
        assert json.loads(body)["error"]["code"] == "too_busy"
        held.pop()[1].close()
        # The server sees it closed a moment later.
        while not (
            await until_closed(host, port, HEALTH[:-2] + b"Connection: close\r\n\r\n")
        ).startswith(b"HTTP/1.1 200 "):
            pass
        held.pop()[1].close()


async def test_who_goes_on_connecting_is_answered_no_more() -> None:
    async with Setup(max_connections=1).run_on_socket() as (_, host, port):
        held = [await asyncio.open_connection(host, port) for _ in range(2)]
        assert (await held[1][0].readline()).startswith(b"HTTP/1.1 503 ")
        with suppress(ConnectionError):
            assert await until_closed(host, port, b"") == b""
        for _, writer in held:
            writer.close()
