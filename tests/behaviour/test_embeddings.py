"""The official SDK gets the same embeddings through the proxy as directly from the upstream."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from tests.fakes import embedding_of, numbers
from tests.servers import Exchange, Setup, upstream_of

INPUTS: list[Any] = ["valkey what", ["a", "b", "a"], [1, 2, 3], [[1, 2], [3]], ["✓ é", "a"]]


async def answer(exchange: Exchange) -> None:
    """Embed as OpenAI does: float32 as decimals or base64, with any number of dimensions."""
    await exchange.read()
    asked = exchange.document
    inputs = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
    if isinstance(inputs[0], int):
        inputs = [inputs]
    assert len(embedding_of("x")) == 8
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": numbers(
                f"{asked.get('dimensions')} {item}", asked.get("encoding_format", "float")
            ),
        }
        for index, item in enumerate(inputs)
    ]
    usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
    await exchange.answer({"object": "list", "data": data, "model": "m-1", "usage": usage})


@pytest.fixture
def setup() -> Setup:
    setup = Setup()
    setup.upstream.handler = answer
    return setup


@pytest.fixture
async def clients(setup: Setup) -> AsyncIterator[list[openai.AsyncOpenAI]]:
    """Two clients: the first asks the upstream directly, and the second asks through the proxy."""
    async with upstream_of(setup.upstream) as direct, setup.run_before(direct) as proxied:
        made = [openai.AsyncOpenAI(base_url=url, api_key="sk-test") for url in (direct, proxied)]
        yield made
        for client in made:
            await client.close()


@pytest.mark.parametrize("value", INPUTS)
@pytest.mark.parametrize(
    "options",
    [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}, {"dimensions": 3}],
)
async def test_the_sdk_gets_the_upstreams_numbers_float_for_float(
    clients: list[openai.AsyncOpenAI], value: Any, options: dict[str, Any]
) -> None:
    direct, proxied = clients
    expected = await direct.embeddings.create(model="m", input=value, **options)
    for outcome in ("MISS", "HIT"):
        raw = await proxied.embeddings.with_raw_response.create(model="m", input=value, **options)
        told = raw.parse()
        assert raw.headers["x-cache"] == outcome
        assert [e.embedding for e in told.data] == [e.embedding for e in expected.data]
        assert [e.index for e in told.data] == [e.index for e in expected.data]
        assert (told.model, told.object) == (expected.model, expected.object)
        assert told.usage == expected.usage
    assert (raw.headers["x-request-id"] or "").startswith("req_")


async def test_a_half_cached_batch_keeps_its_order(
    clients: list[openai.AsyncOpenAI], setup: Setup
) -> None:
    direct, proxied = clients
    batch = [f"text {index}" for index in range(20)]
    await proxied.embeddings.create(model="m", input=batch[::2])
    raw = await proxied.embeddings.with_raw_response.create(model="m", input=batch)
    expected = await direct.embeddings.create(model="m", input=batch)
    assert (raw.headers["x-cache"], raw.headers["cache-status"]) == (
        "PARTIAL",
        "reprise; fwd=partial",
    )
    assert [e.embedding for e in raw.parse().data] == [e.embedding for e in expected.data]
    assert raw.parse().usage == expected.usage
    assert setup.upstream.exchanges[1].document["input"] == batch[1::2]
    lengths = setup.upstream.exchanges[1].header(b"content-length")
    assert lengths == [str(len(setup.upstream.exchanges[1].body)).encode()]


async def test_a_hit_carries_its_age_and_no_entry(
    clients: list[openai.AsyncOpenAI], setup: Setup
) -> None:
    for _ in range(2):
        raw = await clients[1].embeddings.with_raw_response.create(model="m", input="a")
        setup.clock.advance(30)
    assert (raw.headers["age"], raw.headers["cache-status"]) == (
        "30",
        "reprise; hit; ttl=3570; detail=exact",
    )
    assert "x-cache-entry" not in raw.headers


@pytest.mark.parametrize("body", [b"{", b'{"model": "m"}', b'{"model": "m", "input": [{}]}'])
async def test_what_we_cannot_interpret_is_the_upstreams_to_answer(
    setup: Setup, body: bytes
) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.answer({"got": (await exchange.read()).decode()}, 400)

    setup.upstream.handler = refuse
    async with setup.run() as url, httpx.AsyncClient() as client:
        response = await client.post(f"{url}/embeddings", content=body)
    assert (response.status_code, response.json()) == (400, {"got": body.decode()})
    assert response.headers["x-cache"] == "BYPASS"


async def test_embeddings_are_counted_and_evicted_apart_from_answers(setup: Setup) -> None:
    setup = Setup(max_entries=2)
    setup.store = None

    async def either(exchange: Exchange) -> None:
        await (answer(exchange) if exchange.path.endswith(b"embeddings") else chat(exchange))

    async def chat(exchange: Exchange) -> None:
        await exchange.read()
        message = {"role": "assistant", "content": "An answer."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        await exchange.answer({"model": "m", "choices": [choice]})

    setup.upstream.handler = either
    async with setup.run() as url, httpx.AsyncClient(base_url=url) as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "valkey what"}]}
        await client.post("chat/completions", json=body)
        for text in "abc":
            await client.post("embeddings", json={"model": "m", "input": text})
        hit = await client.post("chat/completions", json=body)
        metrics = (await client.get("../metrics")).text
    assert hit.headers["x-cache"] == "HIT"
    assert 'reprise_entries{kind="chat_completion"} 1.0' in metrics
    assert 'reprise_entries{kind="embedding"} 2.0' in metrics
    assert 'reprise_evictions_total{kind="embedding",reason="lru"} 1.0' in metrics
    assert 'reprise_requests_total{outcome="MISS",route="embeddings",tier=""} 3.0' in metrics
