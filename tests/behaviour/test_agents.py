"""Agents that ask again and again in one conversation: no step gets the answer to an older step.

The official SDK asks over real sockets. The model remembers nothing between requests: its answer
depends on the messages of the request alone.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest

from tests.fakes import completion
from tests.servers import Exchange, Setup

Messages = list[Any]

QUESTION = "weather in Rome and in Oslo, please"
CITIES = ("Rome", "Oslo")
TOOLS: Any = [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]
FUNCTIONS: Any = [{"name": "look_up", "parameters": {}}]


def asked(*more: Any) -> Messages:
    return [{"role": "user", "content": QUESTION}, *more]


def call(number: int, city: str) -> dict[str, Any]:
    function = {"name": "look_up", "arguments": json.dumps({"city": city})}
    return {"id": f"call-{number}", "type": "function", "function": function}


def calling(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def gave(number: int, result: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call-{number}", "content": result}


def named(messages: Messages) -> str:
    """Return a digest of messages. The answer that contains it is the answer to these messages."""
    return hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()[:16]


async def model(exchange: Exchange) -> None:
    """Call a tool as long as there are fewer results than cities. After that, answer."""
    await exchange.read()
    body = exchange.document
    results = sum(message["role"] in {"tool", "function"} for message in body["messages"])
    name = named(body["messages"])
    if results >= len(CITIES) or not body.keys() & {"tools", "functions"}:
        await exchange.answer(completion(f"It is fine. {name}"))
    elif "tools" in body:
        await exchange.answer(completion(name, tool_calls=[call(results, CITIES[results])]))
    else:
        function = call(results, CITIES[results])["function"]
        answer = completion(name, function_call=function)
        answer["choices"][0]["finish_reason"] = "function_call"
        await exchange.answer(answer)


@pytest.fixture
def setup() -> Setup:
    setup = Setup()
    setup.upstream.handler = model
    return setup


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        setup.run() as url,
        openai.AsyncOpenAI(base_url=url, api_key="sk-1", max_retries=0) as client,
    ):
        yield client


async def step(client: openai.AsyncOpenAI, messages: Messages, **fields: Any) -> tuple[str, Any]:
    """Ask for the next step. Return the cache's outcome and the message."""
    raw = await client.chat.completions.with_raw_response.create(
        model="m", messages=messages, **fields
    )
    message = raw.parse().choices[0].message
    assert named(messages) in (message.content or ""), "the answer to another step"
    return raw.headers["cache-status"].removeprefix("reprise; ").split("; ttl")[0], message


async def loop_of_tools(client: openai.AsyncOpenAI, results: Callable[[str], str]) -> list[str]:
    """Call tools until the model answers, as agents do. Return the cache's outcome of each step."""
    messages, seen = asked(), []
    while True:
        did, message = await step(client, messages, tools=TOOLS)
        seen.append(did)
        if not message.tool_calls:
            return seen
        messages.append(message.model_dump(exclude_none=True))
        for made in message.tool_calls:
            city = json.loads(made.function.arguments)["city"]
            told = {"role": "tool", "tool_call_id": made.id, "content": results(city)}
            messages.append(told)


async def test_no_step_of_a_loop_gets_the_answer_of_an_older_one(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    assert await loop_of_tools(client, lambda city: f"{city}: sunny") == ["fwd=miss"] * 3
    assert len(setup.upstream.exchanges) == 3


async def test_a_loop_that_repeats_itself_to_the_letter_hits_step_by_step(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    for did in ("fwd=miss", "hit"):
        assert await loop_of_tools(client, lambda city: f"{city}: sunny") == [did] * 3
    assert len(setup.upstream.exchanges) == 3


async def test_from_the_first_result_that_is_new_the_model_is_asked_again(
    client: openai.AsyncOpenAI,
) -> None:
    await loop_of_tools(client, lambda city: f"{city}: sunny")
    changed = {"Rome": "Rome: sunny", "Oslo": "Oslo: sunny, but cold"}
    assert await loop_of_tools(client, changed.__getitem__) == ["hit", "hit", "fwd=miss"]


async def test_a_retry_of_the_very_same_step_hits_streamed_or_not(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    messages = asked(calling(call(0, "Rome")), gave(0, "sunny"))
    assert (await step(client, messages, tools=TOOLS))[0] == "fwd=miss"
    assert (await step(client, messages, tools=TOOLS))[0] == "hit"
    async with client.chat.completions.stream(model="m", messages=messages, tools=TOOLS) as told:
        (made,) = (await told.get_final_completion()).choices[0].message.tool_calls or []
    assert made.function.arguments == call(1, "Oslo")["function"]["arguments"]
    assert len(setup.upstream.exchanges) == 1


async def test_calls_made_at_once_are_told_apart_by_every_result_and_its_order(
    client: openai.AsyncOpenAI,
) -> None:
    both = calling(call(0, "Rome"), call(1, "Oslo"))
    told = [
        asked(both, gave(0, "sunny"), gave(1, "rain")),
        asked(both, gave(0, "rain"), gave(1, "sunny")),
        asked(both, gave(1, "rain"), gave(0, "sunny")),
        asked(both, gave(0, "sunny")),
        asked(calling(call(1, "Oslo"), call(0, "Rome")), gave(0, "sunny"), gave(1, "rain")),
    ]
    assert [(await step(client, m, tools=TOOLS))[0] for m in told] == ["fwd=miss"] * 5
    assert [(await step(client, m, tools=TOOLS))[0] for m in told] == ["hit"] * 5


async def test_results_that_mean_the_same_are_still_other_results(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    for result in ("sunny in Rome", "sunny today in Rome", "sunny skies in Rome"):
        messages = asked(calling(call(0, "Rome")), gave(0, result))
        assert (await step(client, messages, tools=TOOLS))[0] == "fwd=miss"
    assert setup.embedder.texts == []


async def test_a_question_that_is_asked_again_later_is_another_one(
    client: openai.AsyncOpenAI,
) -> None:
    again = asked()[0]
    history: Messages = []
    for result in ("sunny", "rain", "snow"):
        history += [again, calling(call(0, "Rome")), gave(0, result)]
        assert (await step(client, [*history, again], tools=TOOLS))[0] == "fwd=miss"
    assert (await step(client, [*history[:3], again], tools=TOOLS))[0] == "hit"


async def test_legacy_functions_are_called_step_by_step(client: openai.AsyncOpenAI) -> None:
    for did in ("fwd=miss", "hit"):
        messages = asked()
        for _ in CITIES:
            seen, message = await step(client, messages, functions=FUNCTIONS)
            assert (seen, message.function_call.name) == (did, "look_up")
            result = {"role": "function", "name": "look_up", "content": "sunny"}
            messages += [message.model_dump(exclude_none=True), result]
        seen, message = await step(client, messages, functions=FUNCTIONS)
        assert (seen, message.function_call) == (did, None)


OBSERVATIONS = ["the door is open", "the door is opened", "the door is now open"]


async def test_what_is_observed_in_the_users_name_grows_the_history(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    messages = asked()
    for index, observed in enumerate([*OBSERVATIONS, OBSERVATIONS[-1]]):
        assert (await step(client, messages))[0] == "fwd=miss"
        thought = {"role": "assistant", "content": "Thought: look again\nAction: look"}
        messages += [thought, {"role": "user", "content": f"Observation: {observed}"}]
        assert (await step(client, messages))[0] == "fwd=miss", index
        assert (await step(client, messages))[0] == "hit", index
        messages.append({"role": "assistant", "content": "Thought: hm"})
    assert setup.embedder.texts == [QUESTION]


async def test_what_is_observed_in_place_of_something_alike_is_asked_anew(
    client: openai.AsyncOpenAI,
) -> None:
    thought = {"role": "assistant", "content": "Thought: look\nAction: look"}
    for observed in OBSERVATIONS:
        told = {"role": "user", "content": f"Observation: {observed}"}
        assert (await step(client, asked(thought, told)))[0] == "fwd=miss"


async def test_a_prompt_that_holds_the_whole_loop_is_asked_anew_at_each_step(
    client: openai.AsyncOpenAI,
) -> None:
    prompt = f"{QUESTION}\nThought: look\nAction: look"
    for observed in OBSERVATIONS:
        prompt += f"\nObservation: {observed}\nThought:"
        messages = [{"role": "user", "content": prompt}]
        assert [(await step(client, messages))[0] for _ in range(2)] == ["fwd=miss", "hit"]
