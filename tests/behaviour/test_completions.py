"""Text completions by the official SDK, on real sockets."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types import Completion

from tests.servers import Exchange, Setup

PROMPT = "valkey what"
PARAPHRASE = "valkey is what"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def piece(text: str, index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": index, "text": text, "logprobs": None, "finish_reason": finish}
    return {
        "id": "cmpl-upstream",
        "object": "text_completion",
        "created": 1_600_000_000,
        "model": "instruct-test",
        "choices": [choice],
        **fields,
    }


async def answer(exchange: Exchange) -> None:
    """Answer as OpenAI does: streamed or not, with usage if the request asks for it."""
    await exchange.read()
    body = exchange.document
    if not body.get("stream"):
        await exchange.answer(piece("Valkey is a store.", finish="stop", usage=USAGE))
        return
    chunks = [piece(word) for word in ("Valkey ", "is a ", "store.")]
    chunks.append(piece("", finish="stop"))
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks = [{**chunk, "usage": None} for chunk in chunks]
        chunks.append({**piece(""), "choices": [], "usage": USAGE})
    await exchange.stream(*chunks)


@pytest.fixture
def setup() -> Setup:
    setup = Setup()
    setup.upstream.handler = answer
    return setup


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="sk-1", max_retries=0) as client:
        yield client


async def whole(client: openai.AsyncOpenAI, prompt: Any, **fields: Any) -> tuple[str, Completion]:
    told = await client.completions.with_raw_response.create(
        model="m", prompt=prompt, max_tokens=50, **fields
    )
    return told.headers["x-cache"], told.parse()


async def streamed(
    client: openai.AsyncOpenAI, prompt: Any, **fields: Any
) -> tuple[str, str, list[Completion]]:
    raw = await client.completions.with_raw_response.create(
        model="m", prompt=prompt, max_tokens=50, stream=True, **fields
    )
    chunks = [chunk async for chunk in raw.parse()]
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    return raw.headers["x-cache"], text, chunks


def essence(told: Completion) -> dict[str, Any]:
    return told.model_dump(exclude={"id", "created"}, exclude_unset=True)


async def test_a_repeated_prompt_gives_the_same_object(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    miss = await whole(client, PROMPT)
    again = await whole(client, PROMPT)
    similar = await whole(client, PARAPHRASE)
    assert [miss[0], again[0], similar[0]] == ["MISS", "HIT", "HIT"]
    assert essence(miss[1]) == essence(again[1]) == essence(similar[1])
    assert len({miss[1].id, again[1].id, similar[1].id}) == 3
    assert len(setup.upstream.exchanges) == 1


async def test_a_whole_answer_serves_those_who_stream(client: openai.AsyncOpenAI) -> None:
    miss = await whole(client, PROMPT)
    options = {"stream_options": {"include_usage": True}}
    status, text, chunks = await streamed(client, PARAPHRASE, **options)
    assert (status, text) == ("HIT", miss[1].choices[0].text)
    assert chunks[-1].usage == miss[1].usage
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


async def test_a_streamed_answer_with_usage_serves_those_who_do_not_stream(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    options = {"stream_options": {"include_usage": True}}
    status, text, _ = await streamed(client, PROMPT, **options)
    assert (status, text) == ("MISS", "Valkey is a store.")
    told = await whole(client, PARAPHRASE)
    assert (told[0], told[1].choices[0].text) == ("HIT", text)
    assert told[1].usage
    assert told[1].usage.model_dump(exclude_unset=True) == USAGE
    status, text, chunks = await streamed(client, PROMPT)
    assert (status, text) == ("HIT", "Valkey is a store.")
    assert all(chunk.usage is None for chunk in chunks)
    assert len(setup.upstream.exchanges) == 1


@pytest.mark.parametrize(
    ("prompt", "reworded", "fields"),
    [
        ([PROMPT], [PARAPHRASE], {}),
        ([1, 2, 3], [1, 2, 4], {}),
        (PROMPT, PARAPHRASE, {"echo": True}),
        (PROMPT, PARAPHRASE, {"suffix": "."}),
    ],
)
async def test_other_prompts_are_matched_exactly(
    client: openai.AsyncOpenAI, prompt: Any, reworded: Any, fields: dict[str, Any]
) -> None:
    statuses = [(await whole(client, p, **fields))[0] for p in (prompt, prompt, reworded)]
    assert statuses == ["MISS", "HIT", "MISS"]


async def test_an_answer_that_was_cut_by_its_limit_is_not_stored(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    async def cut(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.answer(piece("Valkey is", finish="length", usage=USAGE))

    setup.upstream.handler = cut
    assert [(await whole(client, PROMPT))[0] for _ in range(2)] == ["MISS", "MISS"]


async def test_an_error_of_the_upstream_arrives_and_is_not_stored(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    async def fail(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.answer({"error": {"message": "slow down", "code": "limit"}}, 429)

    setup.upstream.handler = fail
    for _ in range(2):
        with pytest.raises(openai.RateLimitError, match="slow down"):
            await whole(client, PROMPT)
    assert len(setup.upstream.exchanges) == 2


async def test_with_a_key_of_ours_the_route_is_open() -> None:
    setup = Setup(upstream_api_key="sk-ours")
    setup.upstream.handler = answer
    async with (
        setup.run() as url,
        openai.AsyncOpenAI(base_url=url, api_key="sk-1", max_retries=0) as client,
    ):
        assert [(await whole(client, PROMPT))[0] for _ in range(2)] == ["MISS", "HIT"]
    assert setup.metrics.requests.labels("completions", "HIT", "exact")._value.get() == 1
    (exchange,) = setup.upstream.exchanges
    assert exchange.header(b"authorization") == [b"Bearer sk-ours"]


async def test_the_simulated_upstream_answers_in_either_form() -> None:
    setup = Setup()
    async with (
        setup.run_before("simulated://") as url,
        openai.AsyncOpenAI(base_url=url, api_key="sk-1", max_retries=0) as client,
    ):
        status, told = await whole(client, "What is Valkey?", n=2)
        assert status == "MISS"
        assert [choice.index for choice in told.choices] == [0, 1]
        status, text, _ = await streamed(client, "How do I cook pasta?")
        assert (status, text) == ("MISS", "This is a simulated answer to: How do I cook pasta?")
        status, told = await whole(client, [PROMPT, "b"], echo=True)
        assert [choice.text.split()[0] for choice in told.choices] == ["valkey", "bThis"]
        with pytest.raises(openai.BadRequestError):
            await whole(client, PROMPT, n=1000)
