"""The official OpenAI SDK, unchanged but for `base_url`, on real sockets."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from app.core.models import Header
from tests.fakes import completion
from tests.servers import Exchange, Setup

QUESTION: Any = [{"role": "user", "content": "valkey what"}]
PARAPHRASE: Any = [{"role": "user", "content": "valkey is what"}]
TOOLS: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]
ANSWER = {
    **completion("Valkey is a key-value store."),
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Valkey is a key-value store.",
                "refusal": None,
            },
            "logprobs": {
                "content": [
                    {"token": "Valkey", "logprob": -0.25, "bytes": [86], "top_logprobs": []}
                ],
                "refusal": None,
            },
            "finish_reason": "stop",
        }
    ],
}


def chunk(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-upstream",
        "object": "chat.completion.chunk",
        "created": 1_600_000_000,
        "model": "gpt-test-2024",
        "choices": list(choices),
        **fields,
    }


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": index, "delta": fields, "logprobs": None, "finish_reason": finish}


async def answer(exchange: Exchange) -> None:
    """Answer as OpenAI does: streamed or not, with one or more choices, tool calls, and usage.

    A stream has usage only if the request asks for it.
    """
    await exchange.read()
    body = exchange.document
    if not body.get("stream"):
        choices = [{**ANSWER["choices"][0], "index": i} for i in range(body.get("n", 1))]
        await exchange.answer({**ANSWER, "choices": choices})
        return
    usage = (body.get("stream_options") or {}).get("include_usage")
    null_usage = {"usage": None} if usage else {}
    chunks = [
        chunk(delta(role="assistant", content="", refusal=None), **null_usage),
        *(chunk(delta(content=word), **null_usage) for word in ("Valkey ", "is a ", "store.")),
        chunk(delta(finish="stop"), **null_usage),
    ]
    if usage:
        chunks.append(chunk(usage=ANSWER["usage"]))
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


def without_envelope(document: BaseModel) -> dict[str, Any]:
    return document.model_dump(exclude={"id", "created"}, exclude_unset=True)


async def test_a_repeated_question_gives_the_same_object(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    first = await client.chat.completions.create(model="m", messages=QUESTION)
    again = await client.chat.completions.create(model="m", messages=QUESTION)
    similar = await client.chat.completions.create(model="m", messages=PARAPHRASE)
    assert without_envelope(first) == without_envelope(again) == without_envelope(similar)
    assert len({first.id, again.id, similar.id}) == 3
    assert again._request_id
    assert again._request_id != similar._request_id
    assert len(setup.upstream.exchanges) == 1


async def test_the_sync_client_is_served_alike(base_url: str, setup: Setup) -> None:
    def ask() -> list[str]:
        with openai.OpenAI(base_url=base_url, api_key="sk-1", max_retries=0) as client:
            answers = [
                client.chat.completions.with_raw_response.create(model="m", messages=QUESTION)
                for _ in range(2)
            ]
            with client.chat.completions.create(model="m", messages=QUESTION, stream=True) as told:
                text = "".join(c.choices[0].delta.content or "" for c in told)
            assert text == "Valkey is a key-value store."
            return [answer.headers["x-cache"] for answer in answers]

    assert await asyncio.to_thread(ask) == ["MISS", "HIT"]
    assert len(setup.upstream.exchanges) == 1


@pytest.mark.parametrize("include_usage", [False, True])
async def test_a_streamed_replay_accumulates_to_the_same_object(
    client: openai.AsyncOpenAI, setup: Setup, include_usage: bool
) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if include_usage else {}
    finals = []
    for _ in range(2):
        async with client.chat.completions.stream(model="m", messages=QUESTION, **options) as told:
            finals.append(await told.get_final_completion())
    assert without_envelope(finals[0]) == without_envelope(finals[1])
    assert (finals[1].usage is not None) is include_usage
    assert finals[1].choices[0].message.content == "Valkey is a store."
    assert len(setup.upstream.exchanges) == 1


async def test_a_streamed_answer_serves_an_unstreamed_caller(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    stream = await client.chat.completions.create(
        model="m", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    async for _ in stream:
        pass
    whole = await client.chat.completions.create(model="m", messages=QUESTION)
    assert whole.choices[0].message.content == "Valkey is a store."
    assert whole.usage is not None
    assert whole.usage.total_tokens == 5
    assert len(setup.upstream.exchanges) == 1


async def test_several_choices(client: openai.AsyncOpenAI, setup: Setup) -> None:
    answers = [
        await client.chat.completions.create(model="m", messages=QUESTION, n=2) for _ in range(2)
    ]
    assert [choice.index for choice in answers[1].choices] == [0, 1]
    assert without_envelope(answers[0]) == without_envelope(answers[1])
    stream = await client.chat.completions.create(model="m", messages=QUESTION, n=2, stream=True)
    texts = {0: "", 1: ""}
    async for told in stream:
        for choice in told.choices:
            texts[choice.index] += choice.delta.content or ""
    assert set(texts.values()) == {"Valkey is a key-value store."}
    assert len(setup.upstream.exchanges) == 1


@pytest.mark.parametrize("stream_first", [False, True])
async def test_tool_calls(client: openai.AsyncOpenAI, setup: Setup, stream_first: bool) -> None:
    call = {"id": "call_1", "type": "function"}
    whole = {**call, "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}

    async def call_a_tool(exchange: Exchange) -> None:
        await exchange.read()
        if not exchange.document.get("stream"):
            await exchange.answer(completion(None, tool_calls=[whole]))
            return
        opening = {**call, "index": 0, "function": {"name": "get_weather", "arguments": ""}}
        await exchange.stream(
            chunk(delta(role="assistant", content=None, tool_calls=[opening])),
            *(
                chunk(delta(tool_calls=[{"index": 0, "function": {"arguments": piece}}]))
                for piece in ('{"city"', ':"Paris"}')
            ),
            chunk(delta(finish="tool_calls")),
            chunk(usage=ANSWER["usage"]),
        )

    setup.upstream.handler = call_a_tool

    async def streamed() -> Any:
        async with client.chat.completions.stream(
            model="m",
            messages=QUESTION,
            tools=TOOLS,
            stream_options={"include_usage": True},
        ) as told:
            return await told.get_final_completion()

    async def unstreamed() -> Any:
        return await client.chat.completions.create(model="m", messages=QUESTION, tools=TOOLS)

    answers = (
        [await streamed(), await unstreamed()]
        if stream_first
        else [
            await unstreamed(),
            await streamed(),
        ]
    )
    for told in answers:
        (tool_call,) = told.choices[0].message.tool_calls
        assert (tool_call.id, tool_call.function.name) == ("call_1", "get_weather")
        assert tool_call.function.arguments == '{"city":"Paris"}'
        assert told.choices[0].finish_reason == "tool_calls"
    assert len(setup.upstream.exchanges) == 1


class Weather(BaseModel):
    city: str
    degrees: int


async def test_structured_answers_are_parsed(client: openai.AsyncOpenAI, setup: Setup) -> None:
    async def structured(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.answer(completion('{"city":"Paris","degrees":21}'))

    setup.upstream.handler = structured
    for _ in range(2):
        told = await client.chat.completions.parse(
            model="m", messages=QUESTION, response_format=Weather
        )
        assert told.choices[0].message.parsed == Weather(city="Paris", degrees=21)
    assert len(setup.upstream.exchanges) == 1
    await client.chat.completions.create(model="m", messages=QUESTION)
    assert len(setup.upstream.exchanges) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_logprobs_are_kept(client: openai.AsyncOpenAI, setup: Setup, stream: bool) -> None:
    first = await client.chat.completions.create(model="m", messages=QUESTION, logprobs=True)
    if stream:
        async with client.chat.completions.stream(
            model="m", messages=QUESTION, logprobs=True
        ) as told:
            again: Any = await told.get_final_completion()
    else:
        again = await client.chat.completions.create(model="m", messages=QUESTION, logprobs=True)
    assert first.choices[0].logprobs is not None
    assert first.choices[0].logprobs.content is not None
    assert again.choices[0].logprobs.content == first.choices[0].logprobs.content
    assert len(setup.upstream.exchanges) == 1


async def test_the_list_of_models(client: openai.AsyncOpenAI, setup: Setup) -> None:
    async def models(exchange: Exchange) -> None:
        model = {"id": "gpt-test", "object": "model", "created": 1, "owned_by": "test"}
        await exchange.answer({"object": "list", "data": [model]})

    setup.upstream.handler = models
    assert [model.id async for model in client.models.list()] == ["gpt-test"]
    assert setup.upstream.exchanges[0].path == b"/v1/models"


async def test_a_file_is_uploaded_and_downloaded(client: openai.AsyncOpenAI, setup: Setup) -> None:
    content = bytes(range(256)) * 4096

    async def files(exchange: Exchange) -> None:
        await exchange.read()
        if exchange.method == "POST":
            assert content in exchange.body
            file = {"id": "file-1", "object": "file", "bytes": len(content), "created_at": 1}
            await exchange.answer({**file, "filename": "a", "purpose": "batch", "status": "ok"})
            return
        await exchange.start(200, (b"content-type", b"application/octet-stream"))
        await exchange.write(content)
        await exchange.end()

    setup.upstream.handler = files
    file = await client.files.create(file=("a.bin", content), purpose="batch")
    assert file.id == "file-1"
    assert (await client.files.content("file-1")).content == content


@pytest.mark.parametrize(
    ("status_code", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
async def test_upstream_errors_arrive_as_they_are(
    client: openai.AsyncOpenAI, setup: Setup, status_code: int, error: type[openai.APIStatusError]
) -> None:
    problem = {"message": "of theirs", "type": "t", "param": "p", "code": "c"}
    setup.upstream.handler = lambda exchange: exchange.answer({"error": problem}, status_code)
    for _ in range(2):
        with pytest.raises(error) as caught:
            await client.chat.completions.create(model="m", messages=QUESTION)
        assert caught.value.body == problem
    assert len(setup.upstream.exchanges) == 2


async def test_the_sdks_own_retries_honour_retry_after(base_url: str, setup: Setup) -> None:
    async def busy_once(exchange: Exchange) -> None:
        await exchange.read()
        if len(setup.upstream.exchanges) == 1:
            retry: Header = (b"retry-after", b"2")
            await exchange.answer({"error": {"message": "busy"}}, 429, retry)
        else:
            await answer(exchange)

    setup.upstream.handler = busy_once
    begin = time.monotonic()
    async with openai.AsyncOpenAI(base_url=base_url, api_key="sk-1", max_retries=1) as client:
        told = await client.chat.completions.create(model="m", messages=QUESTION)
    assert told.choices[0].message.content
    assert len(setup.upstream.exchanges) == 2
    assert time.monotonic() - begin >= 1.9  # its own first pause is a quarter of that


async def test_a_stream_without_usage_joins_one_that_has_it(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    opened = asyncio.Event()

    async def wait_for_both(exchange: Exchange) -> None:
        await opened.wait()
        await answer(exchange)

    async def usage_of(include: bool) -> bool:
        options: Any = {"stream_options": {"include_usage": True}} if include else {}
        stream = await client.chat.completions.create(
            model="m", messages=QUESTION, stream=True, **options
        )
        return any([told.usage is not None async for told in stream])

    setup.upstream.handler = wait_for_both
    first = asyncio.create_task(usage_of(True))
    while not setup.upstream.exchanges:
        await asyncio.sleep(0)
    second = asyncio.create_task(usage_of(False))
    collapsed = setup.metrics.registry.get_sample_value
    while not collapsed("reprise_collapsed_requests_total"):
        await asyncio.sleep(0)
    opened.set()
    assert (await first, await second) == (True, False)
    assert len(setup.upstream.exchanges) == 1


async def test_the_clients_own_timeout_releases_the_upstream(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    released = asyncio.Event()

    async def silent(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.disconnected()
        released.set()

    setup.upstream.handler = silent
    with pytest.raises(openai.APITimeoutError):
        await client.chat.completions.create(model="m", messages=QUESTION, timeout=0.1)
    await asyncio.wait_for(released.wait(), 5)


async def test_a_client_that_leaves_in_the_middle_of_a_stream_releases_the_upstream(
    client: openai.AsyncOpenAI, setup: Setup
) -> None:
    released = asyncio.Event()

    async def endless(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, (b"content-type", b"text/event-stream"))
        await exchange.write(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
        await exchange.disconnected()
        released.set()

    setup.upstream.handler = endless
    stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)
    await anext(aiter(stream))
    await stream.close()
    await asyncio.wait_for(released.wait(), 5)
    assert "put" not in setup.store.calls
