"""An upstream that compresses its answers, although it was asked not to."""

import asyncio
import gzip
import json
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import brotli
import httpx
import openai
import pytest

from app.core.models import Header
from tests.fakes import completion, embeddings_json
from tests.servers import JSON_TYPE, STREAM_TYPE, Exchange, Setup

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Encode = Callable[[bytes], bytes]
CODERS: list[tuple[str, Encode]] = [
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("br", brotli.compress),
    ("zstd", zstd.compress),
    ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
IDENTITY = {"accept-encoding": "identity"}


@pytest.fixture
def setup() -> Setup:
    return Setup(max_body_bytes=100_000)


def chat(question: str = "valkey what", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": question}], **fields}


class Coding:
    """An upstream that compresses all its answers. A stream waits after its beginning."""

    def __init__(self, coding: str, encode: Encode) -> None:
        self.header: Header = (b"content-encoding", coding.encode())
        self.encode = encode
        self.answer: dict[str, Any] = completion("Hi there")
        self.may_end = asyncio.Event()
        self.body = b""

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read()
        asked = exchange.document
        if asked.get("stream"):
            await self.stream(exchange, is_full="stream_options" in asked)
            return
        document = json.dumps(self.answer).encode()
        if b"embeddings" in exchange.path:
            document = embeddings_json(exchange)
        self.body = self.encode(document)
        length = (b"content-length", b"%d" % len(self.body))
        await exchange.start(200, JSON_TYPE, self.header, length)
        await exchange.write(self.body)
        await exchange.end()

    async def stream(self, exchange: Exchange, *, is_full: bool) -> None:
        await exchange.start(200, STREAM_TYPE, self.header)
        await self.may_end.wait()
        chunks: list[dict[str, Any]] = [
            {"model": "m", "choices": [{"index": 0, "delta": {"content": "Hi there"}}]},
            {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        ]
        if is_full:
            chunks.append({"model": "m", "choices": [], "usage": USAGE})
        events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
        self.body = self.encode(f"{events}data: [DONE]\n\n".encode())
        half = len(self.body) // 2
        await exchange.write(self.body[:half])
        await exchange.write(self.body[half:])
        await exchange.end()


@pytest.fixture(params=CODERS, ids=lambda coder: coder[0])
def upstream(request: pytest.FixtureRequest, setup: Setup) -> Coding:
    setup.upstream.handler = coding = Coding(*request.param)
    return coding


async def raw(client: httpx.AsyncClient, accepted: str | None, **fields: Any) -> httpx.Response:
    """Ask, and return the response without decoding its body."""
    request = client.build_request("POST", "/chat/completions", json=chat(**fields))
    del request.headers["accept-encoding"]
    if accepted is not None:
        request.headers["accept-encoding"] = accepted
    response = await client.send(request, stream=True)
    response._content = b"".join([piece async for piece in response.aiter_raw()])
    await response.aclose()
    return response


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base_url, timeout=10) as client:
        yield client


@pytest.mark.parametrize("stream", [False, True])
async def test_a_coded_answer_goes_on_as_it_came_to_who_accepts_it_and_is_stored_without(
    client: httpx.AsyncClient, upstream: Coding, stream: bool
) -> None:
    upstream.may_end.set()
    coding = upstream.header[1].decode()
    miss = await raw(client, f"{coding};q=0.5", stream=stream)
    assert miss.headers["content-encoding"] == coding
    assert miss.content == upstream.body
    hit = await raw(client, coding, stream=stream)
    assert hit.headers["x-cache"] == "HIT"
    assert "content-encoding" not in hit.headers
    assert "Hi there" in hit.text


@pytest.mark.parametrize("accepted", [None, "identity", "*;q=0", "compress, {};q=0"])
async def test_who_does_not_accept_the_coding_gets_the_answer_without_it(
    client: httpx.AsyncClient, upstream: Coding, accepted: str | None
) -> None:
    miss = await raw(client, accepted and accepted.format(upstream.header[1].decode()))
    assert miss.headers["x-cache"] == "MISS"
    assert "content-encoding" not in miss.headers
    assert miss.json() == completion("Hi there")


async def test_those_who_share_an_answer_get_it_each_as_they_accept_it(
    client: httpx.AsyncClient, setup: Setup, upstream: Coding
) -> None:
    coding = upstream.header[1].decode()
    full = {"stream": True, "stream_options": {"include_usage": True}}
    forms: list[tuple[str, dict[str, Any]]] = [
        (coding, full),
        ("identity", full),
        (coding, {"stream": True}),
        (coding, {}),
    ]
    tasks = []
    for accepted, form in forms:
        tasks.append(asyncio.create_task(raw(client, accepted, **form)))
        while not setup.upstream.exchanges:
            await asyncio.sleep(0)
    while setup.metrics.collapsed._value.get() < len(forms) - 1:
        await asyncio.sleep(0.01)
    upstream.may_end.set()
    leader, same, plain, whole = await asyncio.gather(*tasks)
    assert (leader.headers["content-encoding"], leader.content) == (coding, upstream.body)
    assert not [r for r in (same, plain, whole) if "content-encoding" in r.headers]
    assert same.text.count("data: ") == 4
    assert "Hi there" in plain.text
    assert "usage" not in plain.text
    assert plain.text.endswith("data: [DONE]\n\n")
    assert whole.json()["usage"] == USAGE
    assert len(setup.upstream.exchanges) == 1


async def test_the_official_sdk_reads_both_the_miss_and_the_hit(
    base_url: str, setup: Setup, upstream: Coding
) -> None:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="sk-1", max_retries=0) as sdk:
        for _ in range(2):
            told = await sdk.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "valkey what"}]
            )
            assert told.choices[0].message.content == "Hi there"
        vectors = [
            (await sdk.embeddings.create(model="m", input=inputs)).data[0].embedding
            for inputs in (["one"], ["one"], ["one", "two"])
        ]
    assert vectors[0] == vectors[1] == vectors[2]
    assert len(setup.upstream.exchanges) == 3


async def test_a_bomb_is_not_stored(
    client: httpx.AsyncClient, setup: Setup, upstream: Coding
) -> None:
    upstream.answer = completion("A" * 3_000_000)
    for _ in range(2):
        told = await raw(client, upstream.header[1].decode())
        assert (told.headers["x-cache"], len(told.content)) == ("MISS", len(upstream.body))
    assert len(upstream.body) < 100_000
    assert setup.metrics.not_stored.labels("too-large")._value.get() == 2


async def test_a_coded_answer_that_breaks_off_is_cut_for_who_gets_it_without(
    client: httpx.AsyncClient, upstream: Coding
) -> None:
    encode = upstream.encode
    upstream.encode = lambda data: encode(data)[:-1]
    with pytest.raises(httpx.RemoteProtocolError):
        await raw(client, "identity")
    assert (await raw(client, "*")).headers["x-cache"] == "MISS"


async def test_a_coding_that_is_not_known_is_nobody_elses_answer(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    upstream = setup.upstream.handler = Coding("compress", lambda data: data)
    full = {"stream": True, "stream_options": {"include_usage": True}}
    leader = asyncio.create_task(raw(client, None, **full))
    while not setup.upstream.exchanges:
        await asyncio.sleep(0)
    plain = asyncio.create_task(raw(client, None, stream=True))
    while not setup.metrics.collapsed._value.get():
        await asyncio.sleep(0.01)
    upstream.may_end.set()
    assert "usage" in (await leader).text
    assert "usage" not in (await plain).text
    assert (await plain).headers["content-encoding"] == "compress"
    assert len(setup.upstream.exchanges) == 2
