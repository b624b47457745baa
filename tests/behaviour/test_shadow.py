"""A proxy in shadow mode, on real sockets: its headers, its store and its upstream requests."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.behaviour.test_stale import chat, unavailable
from tests.fakes import completion, embeddings_json
from tests.servers import Exchange, Setup, asked_by

TOKEN = "s3cret"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
TELL = ("x-cache", "x-cache-shadow")


class Counting:
    """An upstream whose answers are numbered."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read()
        self.asked += 1
        answer = completion(f"Answer {self.asked}")
        await exchange.answer(answer, 200, (b"x-cache-shadow", b"PARTIAL"))


@asynccontextmanager
async def client_of(**settings: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Setup]]:
    setup = Setup(**settings)
    setup.upstream.handler = Counting()
    async with setup.run() as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client, setup


async def ask(
    client: httpx.AsyncClient, text: str = "valkey what", **headers: str
) -> tuple[str, str | None, str]:
    """Return `x-cache`, the header on the shadow hit (None if there is none), and the text."""
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await client.post("chat/completions", json=chat(text), headers=lines)
    document = response.json()
    said = document["error"]["code"] if "error" in document else ""
    text = said or document["choices"][0]["message"]["content"]
    return response.headers.get("x-cache", ""), response.headers.get("x-cache-shadow"), text


async def test_in_shadow_every_client_gets_the_upstreams_answer_and_is_told_what_would_be() -> None:
    async with client_of(mode="shadow", ttl=60, stale_while_revalidate=30) as (client, setup):
        assert await ask(client) == ("MISS", "MISS", "Answer 1")
        assert await ask(client) == ("MISS", "HIT", "Answer 2")
        assert await ask(client, "valkey is what") == ("MISS", "HIT", "Answer 3")
        assert await ask(client, cache_control="no-cache") == ("MISS", "MISS", "Answer 4")
        setup.clock.advance(75)
        assert await ask(client) == ("MISS", "STALE", "Answer 5")
        assert await ask(client) == ("MISS", "HIT", "Answer 6")
        assert await ask(client, cache_control="only-if-cached") == ("", None, "not_cached")
    counts = {
        (sample.labels["outcome"], sample.labels["tier"]): sample.value
        for family in setup.metrics.shadow.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }
    exact, semantic = ("HIT", "exact"), ("HIT", "semantic")
    assert counts == {exact: 2, semantic: 1, ("MISS", ""): 2, ("STALE", "exact"): 1}


DIALECTS: list[tuple[str, Any]] = [
    ("chat/completions", chat),
    ("completions", lambda text: {"model": "m", "prompt": text}),
    ("responses", lambda text: {"model": "m", "input": text, "store": False}),
    ("messages", lambda text: chat(text, max_tokens=100)),
]


@pytest.mark.parametrize(("route", "body_of"), DIALECTS)
async def test_every_dialect_tells_of_its_shadow_and_of_none_where_exact_is_asked_for(
    route: str, body_of: Any
) -> None:
    setup = Setup(mode="shadow")
    async with (
        setup.run_before("simulated://") as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        told = []
        for text, headers in (
            ("valkey what", {}),
            ("valkey is what", {"x-cache-tier": "exact"}),
            ("valkey is what", {"x-cache-tier": "exact"}),
            ("valkey", {}),
        ):
            response = await client.post(route, json=body_of(text), headers=headers)
            assert response.status_code == 200
            told.append([response.headers[name] for name in TELL])
    assert told == [["MISS", shadow] for shadow in ("MISS", "MISS", "HIT", "HIT")]


async def test_a_stored_answer_ages_in_shadow_as_if_it_were_served() -> None:
    async with client_of(mode="shadow", ttl=60) as (client, setup):
        await ask(client)
        setup.clock.advance(40)
        assert (await ask(client))[:2] == ("MISS", "HIT")
        setup.clock.advance(40)
        assert (await ask(client))[:2] == ("MISS", "MISS")


async def test_nobody_joins_another_in_shadow() -> None:
    async with client_of(mode="shadow") as (client, setup):
        free, answer = asyncio.Event(), setup.upstream.handler

        async def wait(exchange: Exchange) -> None:
            if len(setup.upstream.exchanges) == 3:
                free.set()
            await free.wait()
            await answer(exchange)

        setup.upstream.handler = wait
        async with asyncio.timeout(10):  # with fewer than three asked, none would be answered
            answers = await asyncio.gather(*(ask(client) for _ in range(3)))
    assert {text for _, _, text in answers} == {"Answer 1", "Answer 2", "Answer 3"}


@pytest.mark.parametrize("mode", ["shadow", "serve-exact"])
async def test_what_is_kept_back_does_not_stand_in_for_a_failing_upstream(mode: str) -> None:
    async with client_of(mode=mode, ttl=60, stale_if_error=600) as (client, setup):
        await ask(client)
        setup.upstream.handler = unavailable
        question = "valkey what" if mode == "shadow" else "valkey is what"
        response = await client.post("chat/completions", json=chat(question))
        assert [response.headers[name] for name in TELL] == ["MISS", "HIT"]
        assert response.status_code == 503


async def test_a_stream_in_shadow_is_the_upstreams_byte_for_byte() -> None:
    async with client_of(mode="shadow") as (client, setup):
        await ask(client)
        sent = b'data: {"choices" : [] }\n\ndata: [DONE]\n\n'

        async def stream(exchange: Exchange) -> None:
            await exchange.read()
            await exchange.start(200, (b"content-type", b"text/event-stream"))
            await exchange.write(sent)
            await exchange.end()

        setup.upstream.handler = stream
        response = await client.post("chat/completions", json=chat(stream=True))
        assert [response.headers[name] for name in TELL] == ["MISS", "HIT"]
        assert response.content == sent


async def test_only_exact_matches_serve_where_meaning_is_in_shadow() -> None:
    async with client_of(mode="serve-exact") as (client, _):
        assert await ask(client) == ("MISS", "MISS", "Answer 1")
        assert await ask(client) == ("HIT", None, "Answer 1")
        only: dict[str, str] = {"cache_control": "only-if-cached"}
        assert await ask(client, **only) == ("HIT", None, "Answer 1")
        assert await ask(client, "valkey is what", **only) == ("", None, "not_cached")
        assert await ask(client, "valkey is what") == ("MISS", "HIT", "Answer 2")
        assert await ask(client, "valkey is what") == ("HIT", None, "Answer 2")


async def test_nothing_is_told_of_a_shadow_where_all_is_served() -> None:
    async with client_of() as (client, setup):
        assert [(await ask(client))[:2] for _ in range(2)] == [("MISS", None), ("HIT", None)]
    assert not any(family.samples for family in setup.metrics.shadow.collect())


async def test_embeddings_in_shadow_are_all_asked_for_anew() -> None:
    async with client_of(mode="shadow", ttl=60) as (client, setup):

        async def embed(exchange: Exchange) -> None:
            await exchange.read()
            await exchange.answer(json.loads(embeddings_json(asked_by(exchange))))

        setup.upstream.handler = embed
        told = []
        for inputs, passing in ((["a"], 0), (["a"], 40), (["a", "b"], 0), (["b"], 40), (["a"], 0)):
            body = {"model": "m", "input": inputs}
            response = await client.post("embeddings", json=body)
            assert len(response.json()["data"]) == len(inputs)
            told.append(tuple(response.headers[name] for name in TELL))
            setup.clock.advance(passing)
        refused = await client.post(
            "embeddings", json=body, headers={"cache-control": "only-if-cached"}
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (504, "not_cached")
        asked = [exchange.document["input"] for exchange in setup.upstream.exchanges]
    assert asked == [["a"], ["a"], ["a", "b"], ["b"], ["a"]]
    assert [shadow for _, shadow in told] == ["MISS", "HIT", "MISS", "HIT", "MISS"]
    assert {outcome for outcome, _ in told} == {"MISS"}


class Saying:
    """An upstream that gives a series of answers, one per request."""

    def __init__(self, *answers: str) -> None:
        self._answers = iter(answers)

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read()
        await exchange.answer(completion(next(self._answers)))


async def test_what_is_kept_back_is_compared_with_what_the_upstream_says() -> None:
    settings: dict[str, Any] = {"ttl": 60, "stale_while_revalidate": 600, "admin_token": TOKEN}
    async with client_of(mode="shadow", **settings) as (client, setup):

        async def stats() -> Any:
            told = await client.get("../cache/stats", headers=ADMIN)
            return told.json()["compared"]

        nothing = {"right": 0, "wrong": 0, "open": 0}
        assert await stats() == {"exact": nothing, "semantic": nothing, "excess_wrong": None}
        setup.upstream.handler = Saying("It is 3.", "It is 3.", "It is 4.", "It is a store.", "3")
        for text in ("valkey what", "valkey what", "valkey is what", "valkey what", "pasta how"):
            await ask(client, text)
        setup.clock.advance(100)
        setup.upstream.handler = Saying("It is 5.")  # in place of a stale one, which proves nothing
        assert (await ask(client))[:2] == ("MISS", "STALE")
        told = await stats()
        assert told["exact"] == {"right": 1, "wrong": 0, "open": 1}
        assert told["semantic"] == {"right": 0, "wrong": 1, "open": 0}
        excess = told["excess_wrong"]
        assert excess["value"] == 1
        assert excess["low"] < 1 <= excess["high"]


async def test_nothing_is_compared_that_is_not_fit_to_be_served() -> None:
    async with client_of(mode="shadow") as (client, setup):
        await ask(client)

        async def cut(exchange: Exchange) -> None:
            await exchange.read()
            answer = completion("Answer 7")
            answer["choices"][0]["finish_reason"] = "length"
            await exchange.answer(answer)

        setup.upstream.handler = cut
        assert (await ask(client))[:2] == ("MISS", "HIT")
        setup.upstream.handler = unavailable
        await client.post("chat/completions", json=chat())
    assert not any(family.samples for family in setup.metrics.compared.collect())
