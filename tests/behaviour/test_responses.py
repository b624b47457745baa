"""The official SDK's Responses, unchanged but for `base_url`, on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel, SecretStr

from app.dialects.responses.events import events_of
from tests.responding import call, message, part, reasoning, response, sse
from tests.servers import STREAM_TYPE, Exchange, Setup

QUESTION, PARAPHRASE = "valkey what", "valkey is what"
FUNCTION: Any = {"type": "function", "name": "get_weather", "parameters": {}, "strict": False}
UNKNOWN = {
    "error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": None}
}


class Weather(BaseModel):
    city: str


class Answering:
    """An upstream that stores responses, as OpenAI's does."""

    def __init__(self) -> None:
        self.output: list[Mapping[str, Any]] = [
            reasoning("Hm."),
            message(part("Valkey is a key-value store.")),
        ]
        self.kept: set[str] = set()
        self.count = 0

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read()
        if exchange.method != "POST" or exchange.path != b"/v1/responses":
            await self._other(exchange)
            return
        body = exchange.document
        if body["model"] == "none":
            await exchange.answer(UNKNOWN, 400)
            return
        self.count += 1
        said = {n: body[n] for n in ("metadata", "store", "user") if body.get(n) is not None}
        told = response(*self.output, **said, id=f"resp_{self.count}")
        if told["store"]:
            self.kept.add(told["id"])
        if not body.get("stream"):
            await exchange.answer(told)
            return
        await exchange.start(200, STREAM_TYPE)
        for event in events_of(told):
            await exchange.write(sse(event))
        await exchange.end()

    async def _other(self, exchange: Exchange) -> None:
        name = exchange.path.decode().split("/")[3]
        status = 200 if name in self.kept else 404
        if exchange.method == "DELETE":
            self.kept.discard(name)
        told = {**response(), "id": name} if status == 200 else UNKNOWN
        await exchange.answer(told, status)


@pytest.fixture
def answering() -> Answering:
    return Answering()


@asynccontextmanager
async def sdk_of(answering: Answering, **settings: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    setup = Setup(**settings)
    setup.upstream.handler = answering
    async with (
        setup.run() as url,
        openai.AsyncOpenAI(base_url=url, api_key="sk-1", max_retries=0) as sdk,
    ):
        yield sdk


@pytest.fixture
async def sdk(answering: Answering) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk_of(answering) as sdk:
        yield sdk


async def ask(
    sdk: openai.AsyncOpenAI, told: Any = QUESTION, *, stream: bool = False, **fields: Any
) -> tuple[str, dict[str, Any]]:
    """Ask, and return the outcome and the answer as the SDK reads it."""
    create = sdk.responses.with_raw_response.create
    if not stream:
        raw = await create(model="m", input=told, **fields)
        return raw.headers["x-cache"], raw.parse().to_dict()
    raw = await create(model="m", input=told, stream=True, **fields)
    async for event in raw.parse():
        last = event
    return raw.headers["x-cache"], last.response.to_dict()


def but_for_ids(told: dict[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in told.items() if n not in {"id", "created_at", "completed_at"}}


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
async def test_what_the_upstream_stores_is_answered_to_its_very_repeat_with_its_id(
    sdk: openai.AsyncOpenAI, first: bool, second: bool
) -> None:
    outcome, told = await ask(sdk, stream=first)
    assert (outcome, told["id"]) == ("MISS", "resp_1")
    assert await ask(sdk, stream=second) == ("HIT", told)
    outcome, other = await ask(sdk, PARAPHRASE)
    assert (outcome, other["id"]) == ("MISS", "resp_2")
    outcome, _ = await ask(sdk, previous_response_id="resp_1")
    assert outcome == "MISS"


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
async def test_what_it_does_not_store_is_answered_by_meaning_with_a_new_id(
    sdk: openai.AsyncOpenAI, first: bool, second: bool
) -> None:
    outcome, told = await ask(sdk, stream=first, store=False)
    assert outcome == "MISS"
    ids = {told["id"]}
    for question in (QUESTION, PARAPHRASE, [{"role": "user", "content": PARAPHRASE}]):
        outcome, again = await ask(sdk, question, stream=second, store=False)
        assert outcome == "HIT"
        assert but_for_ids(again) == but_for_ids(told)
        ids.add(again["id"])
    assert len(ids) == 4


async def test_the_operator_may_have_all_of_it_answered_by_meaning(answering: Answering) -> None:
    async with sdk_of(answering, responses_by_meaning=True) as sdk:
        _, told = await ask(sdk)
        assert await ask(sdk, PARAPHRASE, stream=True) == ("HIT", told)
        outcome, _ = await ask(sdk, PARAPHRASE, store=False)
        assert outcome == "MISS"


async def test_the_sdks_own_accumulation_of_a_replay_equals_the_misss(
    sdk: openai.AsyncOpenAI,
) -> None:
    finals, kinds = [], []
    for question in (QUESTION, PARAPHRASE):
        async with sdk.responses.stream(model="m", input=question, store=False) as stream:
            told = [event.type async for event in stream]
            finals.append((await stream.get_final_response()).to_dict())
        kinds.append(set(told))
    assert but_for_ids(finals[0]) == but_for_ids(finals[1])
    assert kinds[0] == kinds[1] >= {"response.created", "response.completed"}


async def test_parsed_answers_and_calls_of_tools_come_from_the_store(
    sdk: openai.AsyncOpenAI, answering: Answering
) -> None:
    answering.output = [message(part('{"city": "Oslo"}'))]
    for _ in range(2):
        parsed = await sdk.responses.parse(
            model="m", input=QUESTION, text_format=Weather, store=False
        )
        assert parsed.output_parsed == Weather(city="Oslo")
    assert answering.count == 1
    answering.output = [call()]
    fields: Any = {"tools": [FUNCTION], "store": False}
    assert [(await ask(sdk, **fields))[0] for _ in range(2)] == ["MISS", "HIT"]
    assert (await ask(sdk, PARAPHRASE, **fields))[0] == "MISS"


async def test_errors_reach_the_client_and_are_not_stored(
    sdk: openai.AsyncOpenAI, answering: Answering
) -> None:
    for _ in range(2):
        with pytest.raises(openai.BadRequestError):
            await sdk.responses.create(model="none", input=QUESTION)
    outcome, _ = await ask(sdk)
    assert (outcome, answering.count) == ("MISS", 1)


async def test_what_is_deleted_through_the_proxy_is_not_answered_any_more(
    sdk: openai.AsyncOpenAI, answering: Answering
) -> None:
    _, told = await ask(sdk)
    await ask(sdk, "pasta how")
    assert (await sdk.responses.retrieve("resp_1")).id == "resp_1"
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.delete("resp_9")
    assert (await ask(sdk)) == ("HIT", told)
    await sdk.responses.delete("resp_1")
    outcome, again = await ask(sdk)
    assert (outcome, again["id"]) == ("MISS", "resp_3")
    assert (await ask(sdk, "pasta how"))[0] == "HIT"
    answering.kept.add("resp_5")
    assert (await sdk.responses.cancel("resp_5")).id == "resp_5"


async def test_a_client_that_leaves_a_stream_costs_others_nothing(answering: Answering) -> None:
    setup = Setup()
    go_on = asyncio.Event()

    async def slowly(exchange: Exchange) -> None:
        await exchange.read()
        first, *others = events_of(response())
        await exchange.start(200, STREAM_TYPE)
        await exchange.write(sse(first))
        await go_on.wait()
        for event in others:
            await exchange.write(sse(event))
        await exchange.end()

    setup.upstream.handler = slowly
    async with (
        setup.run() as url,
        openai.AsyncOpenAI(base_url=url, api_key="sk-1", max_retries=0) as sdk,
    ):
        stream = await sdk.responses.create(model="m", input=QUESTION, stream=True)
        assert (await anext(aiter(stream))).type == "response.created"
        beside = asyncio.create_task(ask(sdk))
        while not setup.metrics.collapsed._value.get():
            await asyncio.sleep(0.01)
        await stream.close()
        go_on.set()
        outcome, told = await beside
        assert (outcome, told["id"]) == ("MISS", "resp_upstream")
        assert await ask(sdk, stream=True) == ("HIT", told)
    assert len(setup.upstream.exchanges) == 1


async def test_with_a_key_of_its_own_the_proxy_serves_the_route_and_nothing_beside(
    answering: Answering,
) -> None:
    keys: Any = {"api_keys": (SecretStr("sk-1"),), "upstream_api_key": SecretStr("sk-up")}
    async with sdk_of(answering, **keys) as sdk:
        assert [(await ask(sdk))[0] for _ in range(2)] == ["MISS", "HIT"]
        with pytest.raises(openai.PermissionDeniedError):
            await sdk.responses.retrieve("resp_1")


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"tools": [{"type": "web_search"}]}, "hosted-tool"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ],
)
async def test_what_goes_past_the_cache_says_so(
    sdk: openai.AsyncOpenAI, fields: Any, detail: str
) -> None:
    raw = await sdk.responses.with_raw_response.create(model="m", input=QUESTION, **fields)
    assert raw.headers["cache-status"] == f"reprise; fwd=bypass; detail={detail}"


async def test_operators_see_export_and_explain_it(answering: Answering) -> None:
    token = "admin-token"
    async with (
        sdk_of(answering, admin_token=token) as sdk,
        httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}) as client,
    ):
        root = str(sdk.base_url).removesuffix("/v1/")
        await ask(sdk, store=False)
        (entry,) = (await client.get(f"{root}/cache/entries")).json()["entries"]
        assert (entry["dialect"], entry["prompt"]) == ("response", QUESTION)
        stats = (await client.get(f"{root}/cache/stats")).json()
        assert stats["entries"] == {"chat_completion": 0, "response": 1, "embedding": 0}
        metrics = (await client.get(f"{root}/metrics")).text
        assert 'reprise_requests_total{outcome="MISS",route="responses",tier=""} 1.0' in metrics
        assert 'reprise_entries{kind="response"} 1.0' in metrics
        asked = {
            "request": {"model": "m", "input": PARAPHRASE, "store": False},
            "headers": {"authorization": "Bearer sk-1"},
            "route": "/v1/responses",
        }
        told = (await client.post(f"{root}/cache/explain", json=asked)).json()
        assert (told["outcome"], told["tier"]) == ("HIT", "semantic")
        lines = (await client.get(f"{root}/cache/export")).content
        await client.post(f"{root}/cache/purge", json={"all": True})
        taken = (await client.post(f"{root}/cache/import", content=lines)).json()
        assert (taken["imported"], taken["refused"]) == (1, 0)
        assert (await ask(sdk, PARAPHRASE, store=False))[0] == "HIT"


async def test_azures_sdk_gets_misses_and_hits() -> None:
    setup = Setup()
    paths = []

    async def handler(exchange: Exchange) -> None:
        paths.append(exchange.path)
        await exchange.read()
        await exchange.answer(response())

    setup.upstream.handler = handler
    async with (
        setup.run() as url,
        openai.AsyncAzureOpenAI(
            azure_endpoint=url.removesuffix("/v1"),
            api_key="k",
            api_version="2025-04-01-preview",
            max_retries=0,
        ) as sdk,
    ):
        assert [(await ask(sdk))[0] for _ in range(2)] == ["MISS", "HIT"]
    assert paths == [b"/openai/responses"]
