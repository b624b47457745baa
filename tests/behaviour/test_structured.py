"""Structured answers that are broken are not stored, on real sockets."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.fakes import completion
from tests.servers import Exchange, Setup

QUESTION: Any = [{"role": "user", "content": "valkey what"}]
CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
SCHEMA = {"name": "a", "schema": {"type": "object"}}


@pytest.fixture
def setup() -> Setup:
    return Setup()


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="sk-1", max_retries=0) as client:
        yield client


def answering(*answers: dict[str, Any]) -> Any:
    """Return a handler that gives one of `answers` to each request, in order."""
    left = iter(answers)

    async def answer(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.answer(next(left))

    return answer


def streaming(*calls: list[dict[str, Any]]) -> Any:
    """Return a handler that streams fragments of tool calls: one of `calls` for each request."""
    left = iter(calls)

    async def answer(exchange: Exchange) -> None:
        await exchange.read()
        deltas = [{"tool_calls": [fragment]} for fragment in next(left)]
        choices: list[Any] = [
            {"index": 0, "delta": delta, "finish_reason": None} for delta in deltas
        ]
        choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
        await exchange.stream(*({**CHUNK, "choices": [choice]} for choice in choices))

    return answer


def fragment(arguments: str, identifier: str = "", name: str = "open") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"index": 0, "id": identifier, "type": "function", "function": function}


def not_stored(setup: Setup) -> float | None:
    registry = setup.metrics.registry
    return registry.get_sample_value("reprise_not_stored_total", {"reason": "invalid-json"})


async def ask(client: openai.AsyncOpenAI, **fields: Any) -> str:
    raw = await client.chat.completions.with_raw_response.create(
        model="m", messages=QUESTION, **fields
    )
    if fields.get("stream"):
        parts: Any = raw.parse()
        async for _ in parts:
            pass
    return str(raw.headers["x-cache"])


@pytest.mark.parametrize(
    "wanted", [{"type": "json_object"}, {"type": "json_schema", "json_schema": SCHEMA}]
)
@pytest.mark.parametrize("broken", ["Here you are: {}", '{"a": [1, 2', "```json\n{}\n```"])
async def test_a_text_that_must_be_json_and_is_not_is_asked_for_again(
    client: openai.AsyncOpenAI, setup: Setup, wanted: Any, broken: str
) -> None:
    setup.upstream.handler = answering(completion(broken), completion('{"a": 1}'))
    said = [await ask(client, response_format=wanted) for _ in range(3)]
    assert said == ["MISS", "MISS", "HIT"]
    assert not_stored(setup) == 1


@pytest.mark.parametrize(
    "broken",
    [
        [fragment('{"path":', "c"), fragment('"/etc/ho', "c")],
        [fragment('{"a":1}'), fragment('{"a":2}')],
        [fragment("{}"), fragment("{}")],
    ],
)
async def test_a_call_whose_arguments_are_broken_is_asked_for_again(
    client: openai.AsyncOpenAI, setup: Setup, broken: list[dict[str, Any]]
) -> None:
    setup.upstream.handler = streaming(broken, [fragment('{"a":1}', "c")])
    said = [await ask(client, stream=True) for _ in range(3)]
    assert said == ["MISS", "MISS", "HIT"]
    assert not_stored(setup) == 1


async def test_a_call_without_arguments_is_stored(client: openai.AsyncOpenAI, setup: Setup) -> None:
    setup.upstream.handler = streaming([fragment("", "c")])
    assert [await ask(client, stream=True) for _ in range(2)] == ["MISS", "HIT"]


async def test_the_input_of_a_custom_tool_is_any_text(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    call = {"id": "c", "type": "custom", "custom": {"name": "shell", "input": "ls -l {"}}
    setup.upstream.handler = answering(completion(None, tool_calls=[call]))
    assert [await ask(client) for _ in range(2)] == ["MISS", "HIT"]


async def test_one_broken_choice_of_several_spoils_the_answer(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    good, bad = (completion(text)["choices"][0] for text in ("{}", "{"))
    broken = {**completion(), "choices": [good, {**bad, "index": 1}]}
    setup.upstream.handler = answering(broken, broken)
    wanted: Any = {"type": "json_object"}
    assert [await ask(client, n=2, response_format=wanted) for _ in range(2)] == ["MISS", "MISS"]
    assert not_stored(setup) == 2
