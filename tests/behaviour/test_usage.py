"""A request that may have `usage` gets it, whatever form the first request had."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Literal

import openai
import pytest

from tests.fakes import completion
from tests.servers import Exchange, Setup

QUESTION = "valkey what"
PARAPHRASE = "valkey is what"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
TEXT = "Valkey is a store."

Form = Literal["plain", "full", "whole"]
FIELDS: dict[Form, dict[str, Any]] = {
    "plain": {"stream": True},
    "full": {"stream": True, "stream_options": {"include_usage": True}},
    "whole": {},
}


def chunk(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    envelope = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**envelope, "choices": choices, **fields}


class Answers:
    """An upstream that gives `usage` in some forms, and may wait before it answers or fail."""

    def __init__(self, giving: Iterable[Form]) -> None:
        self.giving = set(giving)
        self.opened = asyncio.Event()
        self.opened.set()
        self.fails = False

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read()
        body = exchange.document
        await self.opened.wait()
        if self.fails:
            await exchange.answer({"error": {"message": "overloaded"}}, 503)
            return
        if not body.get("stream"):
            answer = completion(TEXT)
            if "whole" not in self.giving:
                del answer["usage"]
            await exchange.answer(answer)
            return
        form: Form = "full" if "stream_options" in body else "plain"
        told = [chunk(usage=USAGE)] if form in self.giving else []
        await exchange.stream(
            chunk({"index": 0, "delta": {"content": TEXT}, "finish_reason": None}),
            chunk({"index": 0, "delta": {}, "finish_reason": "stop"}),
            *told,
        )


@pytest.fixture
def setup() -> Setup:
    setup = Setup(stale_while_revalidate=60, stale_if_error=600)
    setup.upstream.handler = Answers(["whole", "full"])
    return setup


@pytest.fixture
def upstream(setup: Setup) -> Answers:
    assert isinstance(setup.upstream.handler, Answers)
    return setup.upstream.handler


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="sk-1", max_retries=0) as client:
        yield client


async def ask(
    client: openai.AsyncOpenAI, form: Form, text: str = QUESTION
) -> tuple[str, dict[str, Any] | None]:
    """Return the value of `x-cache`, and the usage; None if the answer has no usage."""
    raw = await client.chat.completions.with_raw_response.create(
        model="m",
        messages=[{"role": "user", "content": text}],
        **FIELDS[form],
    )
    said = raw.headers["x-cache"]
    if form == "whole":
        usage = raw.parse().usage
        return said, usage.model_dump(exclude_unset=True) if usage else None
    parts: Any = raw.parse()
    last = None
    async for part in parts:
        last = part.usage or last
    return said, last.model_dump(exclude_unset=True) if last else None


@pytest.mark.parametrize("text", [QUESTION, PARAPHRASE])
@pytest.mark.parametrize("second", ["whole", "full"])
async def test_a_stream_without_usage_answers_nobody_who_is_entitled_to_it(
    client: openai.AsyncOpenAI, setup: Setup, second: Form, text: str
) -> None:
    assert await ask(client, "plain") == ("MISS", None)
    assert await ask(client, second, text) == ("MISS", USAGE)
    for form in ("whole", "full"):
        assert await ask(client, form, text) == ("HIT", USAGE)
    assert await ask(client, "plain", text) == ("HIT", None)
    assert len(setup.upstream.exchanges) == 2


@pytest.mark.parametrize("second", ["whole", "full"])
async def test_who_joins_in_flight_gets_the_usage_too(
    client: openai.AsyncOpenAI, setup: Setup, upstream: Answers, second: Form
) -> None:
    upstream.opened.clear()
    first = asyncio.create_task(ask(client, "plain"))
    while not setup.upstream.exchanges:
        await asyncio.sleep(0.001)
    others = [asyncio.create_task(ask(client, second)) for _ in range(3)]
    while len(setup.upstream.exchanges) < 2:
        await asyncio.sleep(0.001)
    upstream.opened.set()
    assert await first == ("MISS", None)
    assert [usage for _, usage in [await other for other in others]] == [USAGE] * 3
    assert len(setup.upstream.exchanges) == 2


@pytest.mark.parametrize("text", [QUESTION, PARAPHRASE])
async def test_a_stale_answer_without_usage_is_none_for_who_is_entitled_to_it(
    client: openai.AsyncOpenAI, setup: Setup, text: str
) -> None:
    await ask(client, "plain")
    setup.clock.advance(3610)
    assert await ask(client, "whole", text) == ("MISS", USAGE)
    assert await ask(client, "plain", text) == ("HIT", None)


@pytest.mark.parametrize("text", [QUESTION, PARAPHRASE])
async def test_a_stale_answer_without_usage_does_not_stand_in_for_one_with_it(
    client: openai.AsyncOpenAI, setup: Setup, upstream: Answers, text: str
) -> None:
    await ask(client, "plain")
    setup.clock.advance(3900)
    upstream.fails = True
    with pytest.raises(openai.InternalServerError):
        await ask(client, "whole", text)
    assert await ask(client, "plain", text) == ("STALE", None)


async def test_an_upstream_that_never_gives_usage_is_asked_once_more_for_each_form_at_the_most(
    client: openai.AsyncOpenAI, setup: Setup, upstream: Answers
) -> None:
    upstream.giving = set()
    said = [(await ask(client, form))[0] for form in ("plain", "full", "full", "whole")]
    assert said == ["MISS", "MISS", "HIT", "MISS"]
    for form in ("plain", "full", "whole"):
        assert await ask(client, form) == ("HIT", None)
        assert (await ask(client, form, PARAPHRASE))[0] == "HIT"
    assert len(setup.upstream.exchanges) == 3


async def test_usage_that_only_a_whole_answer_has_serves_every_form(
    client: openai.AsyncOpenAI, setup: Setup, upstream: Answers
) -> None:
    upstream.giving = {"whole"}
    assert await ask(client, "full") == ("MISS", None)
    assert await ask(client, "whole") == ("MISS", USAGE)
    assert await ask(client, "full") == ("HIT", USAGE)
    assert len(setup.upstream.exchanges) == 2


async def test_usage_that_comes_unasked_serves_every_form(
    client: openai.AsyncOpenAI, setup: Setup, upstream: Answers
) -> None:
    upstream.giving = {"plain"}
    assert await ask(client, "plain") == ("MISS", USAGE)
    assert await ask(client, "whole") == ("HIT", USAGE)
    assert len(setup.upstream.exchanges) == 1
