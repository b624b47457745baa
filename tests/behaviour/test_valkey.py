"""Proxies on sockets that share a Valkey, and their behaviour when it fails."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median
from typing import Any

import httpx
import pytest

from tests.servers import Setup, upstream_of
from tests.valkey.cluster import Cluster
from tests.valkey.server import StandIn, stand_in

STORE_TIMEOUT = 0.5
TOKEN = "admin-token"


@pytest.fixture
async def valkey() -> AsyncIterator[StandIn]:
    async with stand_in() as server:
        yield server


def setup_on(server: StandIn | Cluster, **settings: Any) -> Setup:
    """Prepare a proxy with a Valkey in place of the fake store."""
    settings = {"store_timeout": STORE_TIMEOUT, **settings}
    setup = Setup(store=server.url, admin_token=TOKEN, **settings)
    setup.store = None
    return setup


@asynccontextmanager
async def client_of(setup: Setup, upstream: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    running = setup.run() if upstream is None else setup.run_before(upstream)
    limits = httpx.Limits(max_connections=64)
    async with running as url, httpx.AsyncClient(base_url=url, timeout=10, limits=limits) as client:
        yield client


async def ask(client: httpx.AsyncClient, question: str) -> str:
    """Ask, check that the answer is right, and return the value of x-cache."""
    messages = [{"role": "user", "content": question}]
    answer = await client.post("chat/completions", json={"model": "m", "messages": messages})
    assert answer.status_code == 200
    content: str = answer.json()["choices"][0]["message"]["content"]
    # A question is answered by another one that begins with the same word.
    assert content.split()[:3] == ["Answer", "to", question.partition(" ")[0]]
    return answer.headers["x-cache"]


async def degraded(client: httpx.AsyncClient) -> list[str]:
    ready = await client.get(str(client.base_url.copy_with(path="/readyz")))
    assert ready.status_code == 200
    parts: list[str] = ready.json()["degraded"]
    return parts


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> float:
    """Wait until a condition holds. Return the seconds that it took."""
    begin = time.perf_counter()
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.01)
    return time.perf_counter() - begin


async def test_a_miss_on_one_proxy_is_a_hit_on_the_other_until_one_purges(
    valkey: StandIn,
) -> None:
    one, other = setup_on(valkey), setup_on(valkey)
    async with (
        upstream_of(one.upstream) as upstream,
        client_of(one, upstream) as first,
        client_of(other, upstream) as second,
    ):
        assert await ask(first, "valkey what") == "MISS"
        await until(lambda: stored(first))
        assert await ask(second, "valkey what") == "HIT"
        assert await ask(second, "valkey what is it") == "HIT"
        admin = {"Authorization": f"Bearer {TOKEN}"}
        purge = str(second.base_url.copy_with(path="/cache/purge"))
        told = await second.post(purge, json={"all": True}, headers=admin)
        assert told.json() == {"purged": 1, "dry_run": False}
        assert await ask(first, "valkey what is it") == "MISS"


async def stored(client: httpx.AsyncClient) -> bool:
    metrics = await client.get(str(client.base_url.copy_with(path="/metrics")))
    return 'reprise_entries{kind="chat_completion"} 1.0' in metrics.text


async def test_a_proxy_serves_before_its_store_is_there(valkey: StandIn) -> None:
    await valkey.kill()
    setup = setup_on(valkey)
    async with client_of(setup) as client:
        assert await ask(client, "valkey what") == "MISS"
        assert await degraded(client) == ["store"]
        await valkey.restart()

        async def is_a_hit() -> bool:
            return await ask(client, "valkey what") == "HIT"

        assert await until(is_a_hit) < 5

        async def is_well() -> bool:
            return await degraded(client) == []

        await until(is_well)


async def test_without_the_search_module_the_very_same_question_is_answered(
    valkey: StandIn,
) -> None:
    valkey.switches.loaded = False
    async with client_of(setup_on(valkey)) as client:
        assert await ask(client, "valkey what") == "MISS"
        await until(lambda: stored(client))
        for turn in range(8):
            assert await ask(client, f"valkey what is it {turn}") == "MISS"
            assert await ask(client, "valkey what") == "HIT"
        assert await degraded(client) == ["store"]


class Load:
    """Sixteen clients that ask a few questions again and again."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.outcomes: list[str] = []
        self.seconds: list[float] = []
        self._is_over = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        async with asyncio.TaskGroup() as group:
            for number in range(16):
                group.create_task(self._ask_on(number))
            yield self
            self._is_over = True

    async def _ask_on(self, number: int) -> None:
        for turn in itertools.count(number):
            if self._is_over:
                break
            begin = time.perf_counter()
            self.outcomes.append(await ask(self._client, f"w{turn % 20} what"))
            self.seconds.append(time.perf_counter() - begin)

    def median(self) -> float:
        """Return the median time of a request, in seconds."""
        return median(self.seconds)

    def forget(self) -> None:
        self.outcomes.clear()
        self.seconds.clear()

    async def gets(self, outcome: str) -> None:
        """Wait until most requests get the outcome."""

        async def most() -> bool:
            return self.outcomes[-16:].count(outcome) > 12

        await until(most, 20.0)


async def test_a_server_that_is_killed_under_load_costs_no_client_anything(
    valkey: StandIn,
) -> None:
    async with client_of(setup_on(valkey)) as client, Load(client).running() as load:
        await load.gets("HIT")
        await valkey.kill()
        await load.gets("MISS")
        load.forget()
        await load.gets("MISS")
        assert set(load.outcomes) == {"MISS"}
        begin = time.perf_counter()
        await valkey.restart()  # empty
        await load.gets("HIT")
        assert time.perf_counter() - begin < 5


async def test_a_server_that_hangs_costs_no_more_than_the_timeout_and_then_nothing(
    valkey: StandIn,
) -> None:
    async with client_of(setup_on(valkey)) as client, Load(client).running() as load:
        await load.gets("HIT")
        usual, usually_slowest = load.median(), max(load.seconds)
        load.forget()
        valkey.stop()
        await load.gets("MISS")
        slowest = max(load.seconds)
        load.forget()
        await load.gets("MISS")
        held = load.median()
        valkey.resume()
        await load.gets("HIT")
    assert slowest < usually_slowest + 2 * STORE_TIMEOUT
    assert held < 2 * usual + STORE_TIMEOUT / 2
