"""Two proxies on one Valkey make one upstream request. If either proxy dies, no client hangs."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from prometheus_client import CollectorRegistry

from tests.behaviour.test_streams import DONE, WITH_USAGE, Paced, chat
from tests.behaviour.test_valkey import client_of, setup_on
from tests.servers import Setup, UpstreamApp, upstream_of
from tests.valkey.cluster import valkey_cluster
from tests.valkey.server import StandIn, stand_in

WAIT = 5
_LOOKS = 4  # of a flight: at its begin, with the lease refused, and two while it waits


@pytest.fixture
async def valkey() -> AsyncIterator[StandIn]:
    async with stand_in() as server:
        yield server


async def post(client: httpx.AsyncClient, *, stream: bool = False) -> httpx.Response:
    form = WITH_USAGE if stream else {}
    response = await client.post("chat/completions", json=chat(**form))
    assert response.status_code == 200
    return response


async def arrived(upstream: UpstreamApp, requests: int) -> None:
    async with asyncio.timeout(20):
        while len(upstream.exchanges) < requests:
            await asyncio.sleep(0.001)


async def waiting(setup: Setup, requests: int) -> None:
    """Wait until a proxy has looked again for an answer that another proxy is fetching."""
    registry = setup.metrics.registry
    async with asyncio.timeout(20):
        while (looks(registry) or 0) < requests + _LOOKS:
            await asyncio.sleep(0.001)


def looks(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("reprise_lookup_seconds_count", {"tier": "exact"})


@pytest.mark.parametrize("is_down", [False, True])
async def test_two_proxies_make_one_upstream_request(valkey: StandIn, is_down: bool) -> None:
    if is_down:
        await valkey.kill()
    upstream = UpstreamApp(paced := Paced())
    setups = [setup_on(valkey, fleet_collapse_wait=20, store_timeout=5) for _ in range(2)]
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(upstream_of(upstream))
        first, second = [await stack.enter_async_context(client_of(s, url)) for s in setups]
        leading = asyncio.create_task(post(first, stream=True))
        await arrived(upstream, 1)
        asking = [asyncio.create_task(post(second, stream=bool(i % 2))) for i in range(6)]
        await (arrived(upstream, 2) if is_down else waiting(setups[1], len(asking)))
        paced.let(10)
        assert (await leading).content.endswith(DONE)
        answers = [await task for task in asking]
        outcomes = {answer.headers["x-cache"] for answer in answers}
        assert outcomes == {"MISS" if is_down else "HIT"}
        assert len(upstream.exchanges) == (2 if is_down else 1)


async def test_two_proxies_on_a_cluster_make_one_upstream_request() -> None:
    async with valkey_cluster() as cluster, AsyncExitStack() as stack:
        upstream = UpstreamApp(paced := Paced())
        url = await stack.enter_async_context(upstream_of(upstream))
        setups = [setup_on(cluster, fleet_collapse_wait=20, store_timeout=5) for _ in range(2)]
        first, second = [await stack.enter_async_context(client_of(s, url)) for s in setups]
        leading = asyncio.create_task(post(first, stream=True))
        await arrived(upstream, 1)
        asking = [asyncio.create_task(post(second, stream=bool(i % 2))) for i in range(6)]
        await waiting(setups[1], len(asking))
        paced.let(10)
        assert (await leading).content.endswith(DONE)
        assert {(await task).headers["x-cache"] for task in asking} == {"HIT"}
        assert len(upstream.exchanges) == 1


@asynccontextmanager
async def proxy_process(
    valkey: StandIn, upstream: str
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run a proxy in its own process. Yield its base URL and the process, which can be killed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "serve", "--port", "0"),
        env={
            "REPRISE_UPSTREAM_URL": upstream,
            "REPRISE_STORE": valkey.url,
            "REPRISE_STORE_TIMEOUT": "2",
            "REPRISE_VERIFIER": "off",  # so that a start is quick
            "REPRISE_FLEET_COLLAPSE_WAIT": str(WAIT),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        line = ""
        while "http://127.0.0.1:" not in line:
            line = (await process.stdout.readline()).decode()
            assert line
        port = line.partition("http://127.0.0.1:")[2].split("/")[0].split()[0].rstrip(",.")
        yield f"http://127.0.0.1:{port}/v1", process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.communicate()


async def test_when_the_leading_proxy_is_killed_the_other_asks_once(valkey: StandIn) -> None:
    paced = Paced()
    paced.let(1)

    upstream = UpstreamApp(paced)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(upstream_of(upstream))
        one, process = await stack.enter_async_context(proxy_process(valkey, url))
        other, _ = await stack.enter_async_context(proxy_process(valkey, url))
        limits = httpx.Limits(max_connections=64)
        first = await stack.enter_async_context(httpx.AsyncClient(base_url=one, timeout=30))
        second = await stack.enter_async_context(
            httpx.AsyncClient(base_url=other, timeout=30, limits=limits)
        )
        leading = asyncio.create_task(post(first, stream=True))
        await arrived(upstream, 1)
        asking = [asyncio.create_task(post(second, stream=bool(i % 2))) for i in range(20)]
        await asyncio.wait(asking, timeout=0.5)
        assert len(upstream.exchanges) == 1
        process.send_signal(signal.SIGKILL)
        with pytest.raises(httpx.HTTPError):
            await leading
        await arrived(upstream, 2)
        paced.let(10)
        async with asyncio.timeout(20):
            answers = [await task for task in asking]
        assert all(answer.content for answer in answers)
        assert len(upstream.exchanges) == 2
