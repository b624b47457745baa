"""Two proxies on one Valkey, stopped and started one after the other while clients ask."""

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.fakes import completion
from tests.servers import Exchange, UpstreamApp, upstream_of
from tests.valkey.server import stand_in

ROOT = Path(__file__).parent.parent.parent
Act = Callable[[httpx.AsyncClient, str, str], Awaitable[None]]
PIECES = 10
PAUSE = 0.1  # seconds between the pieces of a stream


async def answer(exchange: Exchange) -> None:
    """Answer at once, or with a stream that is still running when the test stops a proxy."""
    await exchange.read()
    question = exchange.document["messages"][-1]["content"]
    if not exchange.document.get("stream"):
        await exchange.answer(completion(f"Answer to {question}"))
        return
    await exchange.start(200, (b"content-type", b"text/event-stream"))
    for number in range(PIECES):
        await asyncio.sleep(PAUSE)
        ends = "stop" if number == PIECES - 1 else None
        choice = {"index": 0, "delta": {"content": f"{number} "}, "finish_reason": ends}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        await exchange.write(b"data: %b\n\n" % json.dumps({**chunk, "choices": [choice]}).encode())
    await exchange.write(b"data: [DONE]\n\n")
    await exchange.end()


class Handler:
    """A process of `reprise serve` on its own port. It can be ended and started again."""

    def __init__(self, environment: dict[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self._port = sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start, and return when it listens."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", "serve", "--port", str(self._port)),
            env=self._environment,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(60):
            while not await self._is_ready():
                assert self._process.returncode is None, "ended too early"
                await asyncio.sleep(0.02)

    async def _is_ready(self) -> bool:
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"http://127.0.0.1:{self._port}/readyz")).is_success
            except httpx.ConnectError:
                return False

    async def end(self) -> int:
        """Tell the process to end, wait until it has ended, and return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            return await self._process.wait()

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class Clients:
    """Clients that ask again and again. If one proxy refuses a connection, they ask the other."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls
        self._is_over = False
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(self._go_on(number, "keeping", self._ask))
                group.create_task(self._go_on(number, "connecting", self._ask))
            for number in range(2):
                group.create_task(self._go_on(number, "streaming", self._stream))
            yield
            self._is_over = True

    async def _go_on(self, number: int, kind: str, act: Act) -> None:
        most = 10 if kind != "connecting" else 0
        limits = httpx.Limits(max_keepalive_connections=most)
        async with httpx.AsyncClient(timeout=20, limits=limits) as client:
            for turn in itertools.count(number):
                if self._is_over:
                    return
                for url in itertools.islice(itertools.cycle(self._urls), turn % 2, turn % 2 + 4):
                    try:
                        await act(client, url, f"{kind}{number} what {turn // 3}")
                    except httpx.ConnectError:
                        self.counts["refused"] += 1
                        continue
                    except (httpx.HTTPError, AssertionError) as error:
                        self.failures.append(f"{kind}: {error!r}")
                    else:
                        self.counts[kind] += 1
                    break
                else:
                    self.failures.append(f"{kind}: both refused")

    async def _ask(self, client: httpx.AsyncClient, url: str, question: str) -> None:
        response = await client.post(f"{url}/chat/completions", json=body(question))
        assert response.status_code == 200, response.text
        content = response.json()["choices"][0]["message"]["content"]
        assert content == f"Answer to {question}"
        await asyncio.sleep(0.02)  # or the proxies have no time to start

    async def _stream(self, client: httpx.AsyncClient, url: str, question: str) -> None:
        asked = {**body(question), "stream": True}
        whole = {"Cache-Control": "no-store"}  # so that it takes its time
        async with client.stream(
            "POST", f"{url}/chat/completions", json=asked, headers=whole
        ) as response:
            assert response.status_code == 200
            text = "".join([piece async for piece in response.aiter_text()])
        assert text.count('"content"') == PIECES, text
        assert text.endswith("data: [DONE]\n\n")

    async def go_on(self) -> None:
        """Wait until every kind of client has got some more answers."""
        before = self.counts.copy()
        async with asyncio.timeout(20):
            while any(self.counts[kind] < before[kind] + 4 for kind in KINDS):
                await asyncio.sleep(0.01)


KINDS = ("keeping", "connecting", "streaming")


def body(question: str) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": question}]}


@pytest.mark.timeout(180)
async def test_a_rolling_restart_loses_no_request() -> None:
    async with stand_in() as valkey, upstream_of(UpstreamApp(answer)) as upstream:
        environment = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith("REPRISE_")
            },
            "PYTHONPATH": str(ROOT),
            "REPRISE_UPSTREAM_URL": upstream,
            "REPRISE_STORE": valkey.url,
            "REPRISE_MAX_DISTANCE": "0",  # so that every answer can be told
            "REPRISE_VERIFIER": "off",  # so that a start is quick
        }
        proxies = [Handler(environment) for _ in range(2)]
        try:
            await asyncio.gather(*(proxy.start() for proxy in proxies))
            clients = Clients([proxy.url for proxy in proxies])
            async with clients.running():
                await clients.go_on()
                for proxy in proxies:
                    assert await proxy.end() == 0
                    await proxy.start()
                    await clients.go_on()
            assert clients.failures == []
            assert clients.counts["refused"] > 0
        finally:
            for proxy in proxies:
                await proxy.kill()
