"""Stale answers, and what clients may ask for, through a whole proxy on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import http_sf
import httpx
import openai
import pytest

from tests.fakes import completion
from tests.servers import STREAM_TYPE, Exchange, Setup, upstream_of

CLIENTS = 8
QUESTIONS = [f"topic{number} what" for number in range(12)]


def chat(text: str = "valkey what", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


def told(response: httpx.Response) -> dict[str, Any]:
    """Read what our cache says about a response in Cache-Status (RFC 9211)."""
    raw = ", ".join(response.headers.get_list("cache-status")).encode()
    members: Any = http_sf.parse(raw, tltype="list")
    (parameters,) = (parameters for name, parameters in members if str(name) == "reprise")
    return {name: str(v) if isinstance(v, str) else v for name, v in parameters.items()}


@asynccontextmanager
async def client_of(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    async with setup.run() as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client


async def unavailable(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.answer({"error": {"message": "down"}}, 503)


async def limited(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.answer({"error": {"message": "slow down"}}, 429, (b"retry-after", b"60"))


async def silent(exchange: Exchange) -> None:
    await exchange.disconnected()


async def silent_stream(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.start(200, STREAM_TYPE)
    await exchange.disconnected()


STATUS_CODES = {unavailable: 503, limited: 429}


@pytest.mark.parametrize("outage", [unavailable, limited, silent, silent_stream])
async def test_in_an_outage_under_load_every_known_question_is_answered(outage: Any) -> None:
    setup = Setup(ttl=100, stale_if_error=3600, upstream_timeout=0.1)
    async with client_of(setup) as client:
        for text in QUESTIONS:
            assert (await client.post("chat/completions", json=chat(text))).is_success
        setup.clock.advance(200)
        setup.upstream.handler = outage

        async def ask_all(number: int) -> list[httpx.Response]:
            # From another place each, so that they are not all on the same flight.
            asked = QUESTIONS[number:] + QUESTIONS[:number]
            return [
                await client.post("chat/completions", json=chat(text, stream=bool(number % 2)))
                for text in asked
            ]

        answers = await asyncio.gather(*(ask_all(number) for number in range(CLIENTS)))
    responses = [response for some in answers for response in some]
    assert len(responses) == CLIENTS * len(QUESTIONS)
    assert {response.status_code for response in responses} == {200}
    assert {response.headers["x-cache"] for response in responses} == {"STALE"}
    assert {response.headers["age"] for response in responses} == {"200"}
    for response in responses:
        parameters = told(response)
        # None where the connection broke instead.
        assert parameters.pop("fwd-status", None) in {STATUS_CODES.get(outage), None}
        assert parameters == {"fwd": "stale", "ttl": -100, "detail": "exact"}


async def test_an_upstream_that_refuses_connections_is_stood_in_for() -> None:
    setup = Setup(ttl=100, stale_if_error=3600)
    async with AsyncExitStack() as stack:
        async with upstream_of(setup.upstream) as upstream_url:
            url = await stack.enter_async_context(setup.run_before(upstream_url))
            client = httpx.AsyncClient(base_url=url, trust_env=False)
            await stack.enter_async_context(client)
            await client.post("chat/completions", json=chat())
        setup.clock.advance(200)
        response = await client.post("chat/completions", json=chat())
        assert told(response) == {"fwd": "stale", "ttl": -100, "detail": "exact"}
        unknown = await client.post("chat/completions", json=chat("pasta how"))
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (
            502,
            "upstream_unreachable",
        )


async def test_the_sdk_reads_a_stale_stream_like_any_other() -> None:
    setup = Setup(ttl=100, stale_while_revalidate=60)
    async with setup.run() as url, openai.AsyncOpenAI(base_url=url, api_key="k") as client:
        await client.chat.completions.create(**chat())
        setup.clock.advance(110)

        async def newer(exchange: Exchange) -> None:
            await exchange.read()
            await exchange.answer(completion("Newer."))

        setup.upstream.handler = newer
        raw = await client.chat.completions.with_raw_response.create(**chat(stream=True))
        assert (raw.headers["x-cache"], raw.headers["age"]) == ("STALE", "110")
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in raw.parse()])
        assert text == "Answer to valkey what"
        for _ in range(100):
            answer = await client.chat.completions.with_raw_response.create(**chat())
            if answer.headers["x-cache"] == "HIT":
                break
        assert answer.parse().choices[0].message.content == "Newer."
    assert len(setup.upstream.exchanges) == 2


async def test_only_if_cached_tells_the_client_not_to_retry() -> None:
    async with client_of(Setup()) as client:
        response = await client.post(
            "chat/completions", json=chat(), headers={"Cache-Control": "only-if-cached"}
        )
    assert response.status_code == 504
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["error"]["code"] == "not_cached"


async def test_several_header_lines_are_one_list() -> None:
    setup = Setup(ttl=100, stale_if_error=60)
    async with client_of(setup) as client:
        await client.post("chat/completions", json=chat())
        setup.clock.advance(110)
        lines = [("Cache-Control", "foo=bar ,, max-age = 200"), ("cache-control", "MAX-STALE=20")]
        response = await client.post("chat/completions", json=chat(), headers=lines)
    assert told(response) == {"hit": True, "ttl": -10, "detail": "exact"}


async def test_a_request_asks_for_a_lifetime_within_the_operators_bounds() -> None:
    setup = Setup(ttl=100, min_ttl=10, max_ttl=1000)
    async with client_of(setup) as client:
        for text, asked, ttl in (
            *(("a x", "50", 50), ("b x", "1", 10), ("c x", "5000", 1000)),
            *(("d x", "soon", 10), ("e x", "", 10)),
        ):
            headers = {"x-cache-ttl": asked}
            response = await client.post("chat/completions", json=chat(text), headers=headers)
            assert response.headers["x-cache"] == "MISS"
            assert told(await client.post("chat/completions", json=chat(text)))["ttl"] == ttl
    assert all(exchange.header(b"x-cache-ttl") == [] for exchange in setup.upstream.exchanges)


@pytest.mark.parametrize("age", [0, 99, 100, 130])
async def test_lists_and_explanations_count_a_lifetime_as_the_header_does(age: int) -> None:
    setup = Setup(ttl=100, stale_while_revalidate=60, admin_token="t")  # noqa: S106
    async with client_of(setup) as client:
        await client.post("chat/completions", json=chat())
        setup.clock.advance(age)
        cache, token = client.base_url.join("/cache/"), {"x-api-key": "t"}
        explained = await client.post(cache.join("explain"), json=chat(), headers=token)
        listed = await client.get(cache.join("entries"), headers=token)
        ttl = told(await client.post("chat/completions", json=chat()))["ttl"]
        assert explained.json()["exact"]["ttl"] == ttl
        assert [entry["ttl"] for entry in listed.json()["entries"]] == [ttl]


async def test_a_lifetime_of_zero_stores_nothing() -> None:
    async with client_of(Setup()) as client:
        for _ in range(2):
            headers = {"x-cache-ttl": "0"}
            response = await client.post("chat/completions", json=chat(), headers=headers)
            assert response.headers["x-cache"] == "MISS"


@pytest.mark.parametrize("verifier", ["off", "on"])
async def test_a_request_asks_for_nearer_answers_and_never_for_farther_ones(verifier: str) -> None:
    setup = Setup(max_distance=0.05, verifier=verifier)
    async with client_of(setup) as client:
        await client.post("chat/completions", json=chat("valkey what"))
        hit = await client.post("chat/completions", json=chat("valkey is what"))
        distance = float(hit.headers["x-cache-distance"])
        for asked, expected in (
            *((str(distance + 0.01), "HIT"), (str(distance / 2), "MISS")),
            *(("0", "MISS"), ("near", "MISS"), ("", "MISS"), ("2", "HIT")),
        ):
            response = await client.post(
                "chat/completions",
                json=chat("valkey is what"),
                headers={"x-cache-max-distance": asked, "Cache-Control": "only-if-cached"},
            )
            assert response.headers.get("x-cache", "MISS") == expected
    setup = Setup(max_distance=distance / 2, verifier=verifier)
    async with client_of(setup) as client:
        for text in ("valkey what", "valkey is what"):
            headers = {"x-cache-max-distance": "2"}
            response = await client.post("chat/completions", json=chat(text), headers=headers)
            assert response.headers["x-cache"] == "MISS"


async def test_a_namespace_shares_with_nobody_else() -> None:
    async with client_of(Setup()) as client:
        for name in ("a", "b", ""):
            headers = {"x-cache-namespace": name} if name else {}
            for expected in ("MISS", "HIT"):
                response = await client.post("chat/completions", json=chat(), headers=headers)
                assert response.headers["x-cache"] == expected
