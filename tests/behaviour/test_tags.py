"""x-cache-tags over HTTP, on every store."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.behaviour.every_store import STORES, ask, client_of, outcome, setup_with
from tests.servers import Exchange, Setup


@pytest.fixture(params=STORES)
async def setup(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Setup]:
    async with setup_with(request.param, tmp_path) as setup:
        yield setup


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(setup) as client:
        yield client


async def test_an_entry_answers_requests_whose_tags_it_carries(client: httpx.AsyncClient) -> None:
    assert await outcome(client, "valkey what", "a", "b") == "MISS"
    for tags in ((), ("a",), ("b", "a")):
        assert await outcome(client, "valkey what", *tags) == "HIT"
        assert await outcome(client, "valkey is what", *tags) == "HIT"


async def test_an_entry_without_a_tag_does_not_answer_a_request_with_it(
    client: httpx.AsyncClient,
) -> None:
    assert await outcome(client, "valkey what", "a") == "MISS"
    assert await outcome(client, "valkey is what", "a", "b") == "MISS"
    assert await outcome(client, "valkey what", "c") == "MISS"


async def test_callers_who_tag_one_question_differently_share_its_answer_in_the_end(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    assert await outcome(client, "valkey what", "a") == "MISS"
    assert await outcome(client, "valkey what", "b") == "MISS"
    for _ in range(3):
        assert await outcome(client, "valkey what", "a") == "HIT"
        assert await outcome(client, "valkey what", "b") == "HIT"
    assert len(setup.upstream.exchanges) == 2


async def test_an_answer_that_takes_the_place_of_an_older_one_keeps_its_tags(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    assert await outcome(client, "valkey what", "a", "b") == "MISS"
    setup.clock.advance(10)
    younger = {"x-cache-tags": "b", "Cache-Control": "max-age=5"}
    assert (await ask(client, "valkey what", younger)).headers["x-cache"] == "MISS"
    assert (await ask(client, "valkey what", {"x-cache-tags": "a"})).headers["age"] == "0"


async def test_tags_do_not_go_upstream_and_any_character_is_kept(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    odd = ("user:{1}|*-\\ 'x'", "@tag:{a}=>[KNN 1]", "*")
    assert await outcome(client, "valkey what", *odd) == "MISS"
    assert await outcome(client, "valkey what", *odd) == "HIT"
    assert await outcome(client, "valkey what", "user:{1}|*-\\ 'x'", "other") == "MISS"
    assert [exchange.header(b"x-cache-tags") for exchange in setup.upstream.exchanges] == [[], []]


async def test_too_many_tags_go_past_the_cache(client: httpx.AsyncClient) -> None:
    many = {"x-cache-tags": ",".join(map(str, range(33)))}
    for _ in range(2):
        answer = await ask(client, "valkey what", many)
        assert answer.headers["cache-status"] == "reprise; fwd=bypass; detail=labels"
    too_long = await client.post(
        "/v1/embeddings",
        json={"model": "m", "input": "a"},
        headers={"x-cache-tags": "a" * 257},
    )
    assert too_long.headers["cache-status"] == "reprise; fwd=bypass; detail=labels"


async def test_embeddings_are_shared_among_requests_with_the_same_tags(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(
            {
                "object": "list",
                "model": "m",
                "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
                "usage": {"prompt_tokens": 1, "total_tokens": 1},
            }
        )

    async def embed(tags: str) -> str:
        body = {"model": "m", "input": "a"}
        headers = {"x-cache-tags": tags}
        response = await client.post("/v1/embeddings", json=body, headers=headers)
        value: str = response.headers["x-cache"]
        return value

    setup.upstream.handler = answer
    assert [await embed(tags) for tags in ("", "a", "a", "b", "", "b,a", "a, b")] == [
        *("MISS", "MISS", "HIT", "MISS", "HIT", "MISS", "HIT")
    ]
