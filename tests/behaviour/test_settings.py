"""Each setting has the effect that docs/settings.md says, through the composition root."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest

from tests.fakes import completion, hang
from tests.servers import Exchange, Setup, UpstreamApp, upstream_of


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def chat(text: str = "valkey what", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


@asynccontextmanager
async def client_of(setup: Setup, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with setup.run() as url, httpx.AsyncClient(base_url=url, **options) as client:
        yield client


async def outcome(client: httpx.AsyncClient, text: str, **options: Any) -> str:
    response = await client.post("chat/completions", json=chat(text), **options)
    return response.headers["x-cache"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["Bearer client"]),
        ({"api_keys": "client"}, []),
        ({"api_keys": "client", "upstream_api_key": "ours"}, ["Bearer ours"]),
        ({"upstream_api_key": "ours"}, ["Bearer ours"]),
    ],
)
@pytest.mark.parametrize("path", ["chat/completions", "embeddings"])
async def test_the_keys_decide_whose_credential_goes_upstream(
    settings: dict[str, Any], expected: list[str], path: str
) -> None:
    setup = Setup(**settings)
    async with client_of(setup) as client:
        sent = {"Authorization": "Bearer client", "Cookie": "session=client"}
        assert (await client.post(path, json=chat(), headers=sent)).is_success
    (exchange,) = setup.upstream.exchanges
    assert exchange.header(b"authorization") == [value.encode() for value in expected]
    assert bool(exchange.header(b"cookie")) is (settings == {})


async def test_max_distance_bounds_the_neighbours() -> None:
    for bound, expected in ((0.15, "HIT"), (0.0001, "MISS")):
        async with client_of(Setup(max_distance=bound)) as client:
            await outcome(client, "valkey what")
            assert await outcome(client, "valkey is what") == expected


async def test_max_temperature_bounds_what_is_cached() -> None:
    async with client_of(Setup(max_temperature=0.5)) as client:
        for temperature, expected in ((0.5, "MISS"), (0.6, "BYPASS")):
            body = chat(temperature=temperature)
            response = await client.post("chat/completions", json=body)
            assert response.headers["x-cache"] == expected


async def test_ttl_is_the_freshness_lifetime() -> None:
    setup = Setup(ttl=100)
    async with client_of(setup) as client:
        await outcome(client, "valkey what")
        setup.clock.advance(60)
        response = await client.post("chat/completions", json=chat())
        assert (response.headers["age"], response.headers["cache-status"]) == (
            "60",
            "reprise; hit; ttl=40; detail=exact",
        )
        setup.clock.advance(40)
        assert await outcome(client, "valkey what") == "MISS"


async def test_max_entries_bounds_the_store_and_evictions_are_counted() -> None:
    setup = Setup(max_entries=2)
    setup.store = None
    async with client_of(setup) as client:
        for text in ("a b", "c d", "e f"):
            await outcome(client, text)
        assert await outcome(client, "a b") == "MISS"
        metrics = (await client.get("../metrics")).text
    assert 'reprise_entries{kind="chat_completion"} 2.0' in metrics
    assert 'reprise_evictions_total{kind="chat_completion",reason="lru"} 2.0' in metrics


async def test_max_bytes_bounds_the_store_and_evictions_are_counted() -> None:
    setup = Setup(max_bytes=1_048_576)
    setup.store = None
    async with client_of(setup) as client:
        for text in ("a b", "c d", "e f"):
            await outcome(client, f"{text} {400_000 * 'x'}")
        assert await outcome(client, f"e f {400_000 * 'x'}") == "HIT"
        assert await outcome(client, f"a b {400_000 * 'x'}") == "MISS"
        metrics = (await client.get("../metrics")).text
    assert 'reprise_evictions_total{kind="chat_completion",reason="bytes"} 3.0' in metrics
    assert 'reprise_entries{kind="chat_completion"} 1.0' in metrics


async def test_ignored_headers_take_no_part() -> None:
    async with client_of(Setup(ignored_headers="X-Mine")) as client:
        await outcome(client, "valkey what", headers={"X-Mine": "1"})
        assert await outcome(client, "valkey what", headers={"X-Mine": "2"}) == "HIT"
        assert await outcome(client, "valkey what", headers={"X-Other": "2"}) == "MISS"


async def test_a_secret_changes_the_entry_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """The upstream's address is a part of the key, so all proxies here use the same address."""
    ids = []
    upstream = Setup()
    for settings in ({}, {}, {"store_secret": "a"}, {"store_secret": "b"}):
        async with upstream_of(upstream.upstream) as proxy_url:
            monkeypatch.setenv("http_proxy", proxy_url.removesuffix("/v1"))
            async with (
                Setup(**settings).run_before("http://upstream.invalid/v1") as url,
                httpx.AsyncClient(trust_env=False) as client,
            ):
                response = await client.post(f"{url}/chat/completions", json=chat())
        ids.append(response.headers["x-cache-entry"])
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


async def test_max_body_bytes_bounds_what_is_stored() -> None:
    setup = Setup(max_body_bytes=2000)

    async def long(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.answer(completion("x" * 3000))

    setup.upstream.handler = long
    async with client_of(setup) as client:
        for _ in range(2):
            assert await outcome(client, "valkey what") == "MISS"


async def test_upstream_timeout_is_silence_between_bytes() -> None:
    setup = Setup(upstream_timeout=0.3)

    async def slow_but_never_silent(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, (b"content-type", b"application/json"))
        body = json.dumps(completion()).encode()
        for at in range(0, len(body), 60):
            await asyncio.sleep(0.1)
            await exchange.write(body[at : at + 60])
        await exchange.end()

    setup.upstream.handler = slow_but_never_silent
    async with client_of(setup) as client:
        begin = time.monotonic()
        assert (await client.post("chat/completions", json=chat())).is_success
        assert time.monotonic() - begin > 0.3
        setup.upstream.handler = lambda exchange: exchange.disconnected()
        assert (await client.get("files")).status_code == 504


async def test_upstream_connect_timeout_bounds_the_connecting() -> None:
    # A listener whose queue is full: the kernel lets further connections wait.
    full = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, backlog=1)
    port = full.sockets[0].getsockname()[1]
    full.get_loop().remove_reader(full.sockets[0].fileno())
    waiting = [asyncio.create_task(asyncio.open_connection("127.0.0.1", port)) for _ in range(8)]
    await asyncio.wait(waiting, timeout=0.2)
    setup = Setup(upstream_connect_timeout=0.2, upstream_timeout=60)
    url = f"http://127.0.0.1:{port}/v1"
    async with setup.run_before(url) as proxy, httpx.AsyncClient(timeout=10) as client:
        response = await client.get(f"{proxy}/files")
    assert response.status_code == 504
    for task in waiting:
        task.cancel()
        if task.done() and not task.cancelled():
            task.result()[1].close()
    full.close()


async def test_a_proxy_that_the_environment_names_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    between = UpstreamApp()
    async with upstream_of(between) as proxy_url:
        monkeypatch.setenv("http_proxy", proxy_url.removesuffix("/v1"))
        async with (
            Setup().run_before("http://upstream.invalid/v1") as url,
            httpx.AsyncClient(trust_env=False) as client,
        ):
            response = await client.post(f"{url}/chat/completions", json=chat())
    assert response.is_success
    assert between.exchanges[0].header(b"host") == [b"upstream.invalid"]


async def test_a_proxy_that_the_environment_excepts_a_host_from_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with client_of(Setup(), trust_env=False) as client:
        assert await outcome(client, "valkey what") == "MISS"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"verifier": "off"}, "HIT"),
        ({"verifier": "on"}, "MISS"),
        ({"verifier": "on", "max_error_rate": 0.04}, "MISS"),
        ({"verifier": "on", "max_error_rate": 0.05}, "HIT"),
    ],
)
async def test_the_verifier_lets_pass_what_the_error_rate_takes(
    settings: dict[str, Any], expected: str
) -> None:
    setup = Setup(**settings)
    setup.verifier.answer = lambda _: 0.7
    async with client_of(setup) as client:
        await outcome(client, "valkey what")
        assert await outcome(client, "valkey is what") == expected


@pytest.mark.parametrize(
    ("settings", "bound"),
    [
        ({"verifier": "off"}, 0.15),
        ({"verifier": "on"}, 0.4),
        ({"verifier": "on", "max_distance": 0.1}, 0.1),
        ({"verifier": "off", "max_distance": 0.3}, 0.3),
    ],
)
async def test_candidates_are_as_far_away_as_is_worth_asking(
    settings: dict[str, Any], bound: float
) -> None:
    for distance, expected in ((bound - 0.01, "HIT"), (bound + 0.01, "MISS")):
        setup, turned = Setup(**settings), math.acos(1 - distance)
        north = np.zeros(8, np.float32)
        north[0] = 1.0
        aside = np.zeros(8, np.float32)
        aside[:2] = math.cos(turned), math.sin(turned)
        setup.embedder.answer = {"valkey what": north, "valkey is what": aside}.get
        async with client_of(setup) as client:
            await outcome(client, "valkey what")
            assert await outcome(client, "valkey is what") == expected


async def test_a_verifier_that_hangs_costs_its_timeout_and_says_so() -> None:
    setup = Setup(verifier="on", verifier_timeout=0.01)
    setup.verifier.before = hang
    async with client_of(setup) as client:
        await outcome(client, "valkey what")
        response = await client.post("chat/completions", json=chat("valkey is what"))
    assert response.headers["cache-status"] == "reprise; fwd=miss; detail=verifier-unavailable"
