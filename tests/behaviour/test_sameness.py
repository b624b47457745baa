"""Requests that clients write in different ways but with the same meaning, on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.fakes import completion
from tests.servers import Exchange, Setup

ASKED: list[Any] = [{"role": "user", "content": "valkey what"}]
REWORDED: list[Any] = [{"role": "user", "content": "valkey is what"}]
PARTS: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "valkey what"}]}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
OTHER_TOOL = {"type": "function", "function": {"name": "g"}}
CALL = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
FORCE = {"type": "function", "function": {"name": "f"}}


@pytest.fixture
def setup() -> Setup:
    return Setup()


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": "Bearer a"}
    async with (
        setup.run() as url,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=10) as client,
    ):
        yield client


async def ask(client: httpx.AsyncClient, messages: list[Any], **fields: Any) -> httpx.Response:
    body = {"model": "m", "messages": messages, **fields}
    response = await client.post("chat/completions", json=body)
    assert response.status_code == 200
    return response


@pytest.mark.parametrize(
    ("messages", "fields"),
    [
        (ASKED, {"temperature": 1}),
        (ASKED, {"n": 1}),
        (ASKED, {"tools": []}),
        (ASKED, {"stop": None}),
        (ASKED, {"store": False}),
        (ASKED, {"prompt_cache_retention": "24h"}),
        (ASKED, {"top_p": 1.0, "presence_penalty": 0, "response_format": {"type": "text"}}),
        (PARTS, {}),
        (PARTS, {"temperature": 1.0, "stream": True}),
    ],
)
async def test_defaults_spelled_out_and_one_part_are_the_same(
    client: httpx.AsyncClient, messages: list[Any], fields: dict[str, Any]
) -> None:
    await ask(client, ASKED)
    response = await ask(client, messages, **fields)
    assert "detail=exact" in response.headers["cache-status"]


async def test_another_run_of_the_same_calls_is_the_same(client: httpx.AsyncClient) -> None:
    def run(name: str) -> list[Any]:
        said = {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": name}]}
        return [*ASKED, said, {"role": "tool", "tool_call_id": name, "content": "4"}]

    await ask(client, run("call_a"), tools=[TOOL])
    response = await ask(client, run("call_b"), tools=[TOOL])
    assert "detail=exact" in response.headers["cache-status"]


@pytest.mark.parametrize("role", ["system", "developer"])
async def test_a_closing_reminder_matches_exactly_and_the_turn_before_it_by_meaning(
    client: httpx.AsyncClient, role: str
) -> None:
    reminder = {"role": role, "content": "Be brief."}
    await ask(client, [*ASKED, reminder])
    response = await ask(client, [*REWORDED, reminder])
    assert "semantic" in response.headers["cache-status"]
    response = await ask(client, [*REWORDED, {**reminder, "content": "Be long."}])
    assert response.headers["x-cache"] == "MISS"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tools": [TOOL, OTHER_TOOL], "tool_choice": FORCE}, "HIT"),
        ({"tools": [TOOL], "tool_choice": "required"}, "HIT"),
        ({"functions": [TOOL["function"]], "function_call": {"name": "f"}}, "HIT"),
        ({"tools": [TOOL, OTHER_TOOL], "tool_choice": "required"}, "MISS"),
        ({"tools": [TOOL]}, "MISS"),
    ],
)
async def test_a_forced_call_is_matched_by_meaning_as_other_structured_answers_are(
    setup: Setup,
    client: httpx.AsyncClient,
    fields: dict[str, Any],
    expected: str,
    stream: bool,
) -> None:
    async def call(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.answer(completion(None, tool_calls=[{**CALL, "id": "call_a"}]))

    setup.upstream.handler = call
    await ask(client, ASKED, **fields)
    response = await ask(client, REWORDED, stream=stream, **fields)
    assert response.headers["x-cache"] == expected


@pytest.mark.parametrize(
    "text", ["Flip a coin", "Generate a UUID", "Wirf eine M\u00fcnze", "Tell me another joke"]
)
async def test_an_answer_that_must_be_new_comes_from_the_upstream_to_each_who_asks(
    setup: Setup, client: httpx.AsyncClient, text: str
) -> None:
    number, both = iter(range(9)), asyncio.Barrier(2)

    async def chance(exchange: Exchange) -> None:
        await exchange.read()
        await both.wait()  # which nobody passes whom one flight serves
        await exchange.answer(completion(str(next(number))))

    setup.upstream.handler = chance
    messages = [{"role": "user", "content": text}]
    told: list[httpx.Response] = []
    async with asyncio.timeout(10):
        for _ in range(2):
            told += await asyncio.gather(ask(client, messages), ask(client, messages))
    assert {response.headers["cache-status"] for response in told} == {
        "reprise; fwd=bypass; detail=must-be-new"
    }
    assert len({response.text for response in told}) == 4


@pytest.mark.parametrize("fields", [{"seed": 7}, {"temperature": 0}, {"temperature": 0.0}])
async def test_who_wants_the_same_again_gets_it(
    client: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    messages = [{"role": "user", "content": "Flip a coin"}]
    await ask(client, messages, **fields)
    response = await ask(client, messages, **fields)
    assert response.headers["x-cache"] == "HIT"
