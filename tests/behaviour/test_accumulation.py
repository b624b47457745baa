"""The official SDK assembles the same message from a replay as from the upstream's stream."""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest
from hypothesis import Phase, given, settings

from app.adapters import adapters_for
from app.core.models import ClientRequest, Header
from app.main import create_app
from app.server.uvicorn_server import serving
from app.settings import FixedSettings
from tests.chunking import body_of, streams
from tests.fakes import FakeEmbedder, FakeResponse, FakeUpstream

STREAM_TYPE: Header = (b"content-type", b"text/event-stream")
OPTIONS: Any = {"include_usage": True}


class Told:
    """A proxy on a socket, in front of an upstream that streams the given chunks."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.upstream = FakeUpstream(self._answer)
        self.url = ""
        self._numbers = itertools.count()

    def _answer(self, _: ClientRequest) -> FakeResponse:
        return FakeResponse(self.pieces, headers=[STREAM_TYPE])

    def tell(self, chunks: list[dict[str, Any]], size: int = 7) -> dict[str, Any]:
        """Let the upstream stream `chunks` next. Return the fields of a request for them."""
        body = body_of(chunks)
        self.pieces = [body[at : at + size] for at in range(0, len(body), size)]
        choices = {choice["index"] for chunk in chunks for choice in chunk["choices"]}
        question = f"w{next(self._numbers)}"
        messages = [{"role": "user", "content": question}]
        return {"model": "m", "messages": messages, "n": len(choices), "stream_options": OPTIONS}


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    told = Told()
    fixed = FixedSettings(upstream_url="http://upstream.test/v1", verifier="off")
    adapters = replace(adapters_for(fixed, embedder=FakeEmbedder()), upstream=told.upstream)
    with serving(create_app(fixed, adapters)) as url:
        told.url = f"{url}/v1"
        yield told


def dumped(completion: Any) -> dict[str, Any]:
    document: dict[str, Any] = completion.model_dump(exclude={"id", "created"})
    return document


@settings(max_examples=15, phases=[Phase.generate])
@given(stream=streams())
def test_the_sync_client_adds_both_up_to_the_same(told: Told, stream: Any) -> None:
    completion, chunks = stream
    asked = told.tell(chunks)
    before = len(told.upstream.requests)
    finals = []
    with openai.OpenAI(base_url=told.url, api_key="sk-1", max_retries=0) as client:
        for _ in range(2):
            with client.chat.completions.stream(**asked) as events:
                finals.append(events.get_final_completion())
        whole = client.chat.completions.create(
            **{n: v for n, v in asked.items() if n != "stream_options"}
        )
    original, replayed = map(dumped, finals)
    assert replayed == original
    assert finals[0].id != finals[1].id
    assert whole.usage == finals[0].usage
    texts = [choice.message.content for choice in whole.choices]
    assert texts == [choice["message"]["content"] for choice in completion["choices"]]
    assert len(told.upstream.requests) == before + 1


@settings(max_examples=5, phases=[Phase.generate])
@given(stream=streams())
def test_the_async_client_adds_both_up_to_the_same(told: Told, stream: Any) -> None:
    asked = told.tell(stream[1])
    before = len(told.upstream.requests)

    async def ask_twice() -> list[dict[str, Any]]:
        finals = []
        async with openai.AsyncOpenAI(base_url=told.url, api_key="sk-1", max_retries=0) as client:
            for _ in range(2):
                async with client.chat.completions.stream(**asked) as events:
                    finals.append(dumped(await events.get_final_completion()))
        return finals

    original, replayed = asyncio.run(ask_twice())
    assert replayed == original
    assert len(told.upstream.requests) == before + 1
