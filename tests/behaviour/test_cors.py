"""Web pages of other origins: preflights, and which pages may read which answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.fakes import completion
from tests.servers import Exchange, Setup

PAGE, OTHER = "https://page.example", "https://other.example"
EMBED = {"model": "m", "input": ["one"]}
KEY = {"authorization": "Bearer sk-1"}


@asynccontextmanager
async def client_of(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    async with setup.run() as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
        yield client


def chat(question: str = "valkey what", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": question}], **fields}


async def ask(
    client: httpx.AsyncClient, origin: str | None, question: str = "valkey what", **fields: Any
) -> httpx.Response:
    headers = KEY | ({"origin": origin} if origin else {})
    return await client.post("/chat/completions", json=chat(question, **fields), headers=headers)


def told(response: httpx.Response) -> tuple[str, str | None]:
    return response.headers["x-cache"], response.headers.get("access-control-allow-origin")


async def allow_all(exchange: Exchange) -> None:
    """Answer as Starlette's middleware does: CORS headers go only to requests with an Origin."""
    await exchange.read()
    allowed = [(b"access-control-allow-origin", b"*")] if exchange.header(b"origin") else []
    if b"embeddings" in exchange.path:
        data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        await exchange.answer({"object": "list", "data": data, "model": "m"}, 200, *allowed)
        return
    await exchange.answer(completion("Hi there"), 200, *allowed)


async def allow_who_asks(exchange: Exchange) -> None:
    await exchange.read()
    allowed = [(b"access-control-allow-origin", value) for value in exchange.header(b"origin")]
    await exchange.answer(completion("Hi there"), 200, *allowed)


async def test_a_hit_may_be_read_by_whom_the_miss_could() -> None:
    setup = Setup()
    setup.upstream.handler = allow_all
    async with client_of(setup) as client:
        for expected in ("MISS", "HIT"):
            assert told(await ask(client, PAGE)) == (expected, "*")
            assert told(await ask(client, PAGE, "other what", stream=True)) == (expected, "*")
        for expected in ("MISS", "HIT"):
            page = KEY | {"origin": PAGE}
            assert told(await client.post("/embeddings", json=EMBED, headers=page)) == (
                expected,
                "*",
            )


async def test_what_all_pages_may_read_serves_all_pages_and_everybody_else() -> None:
    setup = Setup()
    setup.upstream.handler = allow_all
    async with client_of(setup) as client:
        assert told(await ask(client, None)) == ("MISS", None)
        miss = await ask(client, PAGE)
        assert told(miss) == ("MISS", "*")
        for origin in (PAGE, OTHER, None):
            hit = await ask(client, origin)
            assert told(hit) == ("HIT", "*")
            assert hit.headers["x-cache-entry"] == miss.headers["x-cache-entry"]
            assert told(await ask(client, origin, "valkey what is it")) == ("HIT", "*")
        assert len(setup.upstream.exchanges) == 2


async def test_what_one_page_may_read_serves_that_page_only() -> None:
    setup = Setup()
    setup.upstream.handler = allow_who_asks
    async with client_of(setup) as client:
        for expected in ("MISS", "HIT"):
            for origin in (PAGE, OTHER, None):
                assert told(await ask(client, origin)) == (expected, origin)


async def test_a_page_that_joins_in_another_form_may_read_the_answer_too() -> None:
    setup = Setup()
    setup.upstream.handler = allow_all
    async with client_of(setup) as client:
        async with client.stream(
            "POST", "/chat/completions", json=chat(), headers=KEY | {"origin": PAGE}
        ):
            joined = await ask(client, PAGE, stream=True)
        assert told(joined)[1] == "*"


PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-cache-ttl",
}


@pytest.mark.parametrize("origins", [(PAGE,), (OTHER, PAGE), ("*",)])
async def test_pages_of_named_origins_may_call_with_a_key(origins: tuple[str, ...]) -> None:
    setup = Setup(cors_origins=origins, api_keys=(SecretStr("sk-1"),))
    setup.upstream.handler = allow_who_asks
    allowed = "*" if origins == ("*",) else PAGE
    async with client_of(setup) as client:
        preflight = await client.options("/chat/completions", headers=PREFLIGHT)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == allowed
        assert "x-cache-ttl" in preflight.headers["access-control-allow-headers"]
        for expected in ("MISS", "HIT"):
            answer = await ask(client, PAGE)
            assert told(answer) == (expected, allowed)
            assert answer.headers["access-control-expose-headers"] == "*"
        assert told(await ask(client, None)) == ("HIT", None)
        refused = await client.post("/chat/completions", json=chat(), headers={"origin": PAGE})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == allowed


async def test_a_page_of_another_origin_may_not_read_whatever_the_upstream_says() -> None:
    setup = Setup(cors_origins=(PAGE,), api_keys=(SecretStr("sk-1"),))
    setup.upstream.handler = allow_all
    async with client_of(setup) as client:
        for expected in ("MISS", "HIT"):
            assert told(await ask(client, OTHER)) == (expected, None)
        answer = await client.options("/chat/completions", headers={**PREFLIGHT, "origin": OTHER})
        assert answer.status_code == 400
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("origins", "expected"), [((), 403), ((PAGE,), 200), (("*",), 200), ((OTHER,), 403)]
)
async def test_named_pages_may_use_the_key_that_we_hold(
    origins: tuple[str, ...], expected: int
) -> None:
    setup = Setup(upstream_api_key=SecretStr("sk-ours"), cors_origins=origins)
    setup.upstream.handler = allow_who_asks
    async with client_of(setup) as client:
        answer = await client.post("/chat/completions", json=chat(), headers={"origin": PAGE})
        assert answer.status_code == expected


async def test_operators_routes_are_not_for_pages() -> None:
    setup = Setup(cors_origins=("*",))
    async with client_of(setup) as client:
        answer = await client.get("../metrics", headers={"origin": PAGE})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers
