"""Savings add up over restarts and over a fleet, and the cache's own costs are subtracted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.upstream.simulated_embeddings import answer_embeddings
from tests.behaviour.every_store import ADMIN, TOKEN, ask, client_of, setup_with
from tests.behaviour.test_valkey import setup_on
from tests.servers import Exchange, Setup, UpstreamApp, echo, upstream_of
from tests.valkey.server import stand_in

PRICES = '[models."m"]\ninput = 1000\noutput = 2000\n\n[models."text-*"]\ninput = 500\n'
# Of the fakes' answers: 3 tokens of input at $0.001, 2 of output at $0.002.
DOLLARS = 0.007


@pytest.fixture
def prices(tmp_path: Path) -> str:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return str(path)


async def savings(client: httpx.AsyncClient) -> Any:
    told = (await client.get("/cache/stats")).json()
    return told["savings"] | {"kept_in": told["kept_in"]}


@pytest.mark.parametrize(
    ("store", "kept_in", "after"), [("memory", "process", 0), ("sqlite", "file", 2)]
)
async def test_savings_outlive_a_restart_as_far_as_the_store_does(
    tmp_path: Path, prices: str, store: str, kept_in: str, after: int
) -> None:
    async with setup_with(store, tmp_path, prices=prices) as setup:
        async with client_of(setup) as client:
            for _ in range(3):
                answer = await ask(client, "valkey what")
            assert answer.headers["x-cache-saved-usd"] == "0.007000"
            assert answer.headers["x-cache-saved-tokens"] == "5"
            told = await savings(client)
            assert (told["hits"], told["usd"], told["kept_in"]) == (2, 2 * DOLLARS, kept_in)
        async with client_of(setup) as client:
            told = await savings(client)
            assert (told["hits"], told["usd"]) == (after, after * DOLLARS)


@asynccontextmanager
async def client_before(setup: Setup, upstream: str) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        setup.run_before(upstream) as url,
        httpx.AsyncClient(base_url=url.removesuffix("/v1"), headers=ADMIN, timeout=10) as client,
    ):
        yield client


async def test_two_proxies_on_one_valkey_tell_the_same() -> None:
    async with stand_in() as valkey, upstream_of(UpstreamApp()) as upstream:
        for _ in range(2):  # the second time after a restart of both
            one, other = (setup_on(valkey) for _ in range(2))
            async with client_before(one, upstream) as a, client_before(other, upstream) as b:
                await ask(a, "valkey what")
                await savings(a)  # comes after the write of the answer
                await ask(b, "valkey what")
                told = await savings(b)
                assert told == await savings(a)
                assert told["kept_in"] == "fleet"
        # At first a miss and a hit, then two hits.
        assert (told["hits"], told["input_tokens"], told["output_tokens"]) == (3, 9, 6)


async def test_a_remote_embedder_costs_something(prices: str) -> None:
    async def answer(exchange: Exchange) -> None:
        if exchange.path.endswith(b"/embeddings"):
            await exchange.answer(answer_embeddings(await exchange.read()))
        else:
            await echo(exchange)

    setup = Setup(embedder="upstream", prices=prices, admin_token=TOKEN)
    setup.upstream.handler = answer
    async with client_of(setup) as client:
        await ask(client, "valkey what")
        await ask(client, "valkey what")
        told = await savings(client)
    spent = told["spent"]["embedding"]
    assert (spent["calls"], spent["unpriced"]) == (1, 0)
    assert spent["tokens"] > 0
    assert spent["usd"] == pytest.approx(spent["tokens"] * 0.0005)
    assert told["net_usd"] == pytest.approx(DOLLARS - spent["usd"])


async def test_embeddings_that_were_stored_save_their_tokens(prices: str) -> None:
    setup = Setup(prices=prices, admin_token=TOKEN)

    async def answer(exchange: Exchange) -> None:
        await exchange.answer(answer_embeddings(await exchange.read()))

    setup.upstream.handler = answer
    body = {"model": "text-1", "input": ["one two", "three"]}
    async with client_of(setup) as client:
        first, second = [await client.post("/v1/embeddings", json=body) for _ in range(2)]
        told = await savings(client)
    tokens = first.json()["usage"]["prompt_tokens"]
    assert second.headers["x-cache-saved-tokens"] == str(tokens)
    assert told["input_tokens"] == tokens
    assert told["usd"] == pytest.approx(tokens * 0.0005)
