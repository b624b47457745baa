"""Remote embedders, through the whole proxy: the requests that they get, and the hits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.adapters import adapters_for
from app.core.errors import ConfigurationError
from app.settings import FixedSettings
from app.upstream.simulated_embeddings import answer_embeddings, embed_words
from tests.servers import Exchange, Setup, UpstreamApp, echo, upstream_of

CREDENTIALS = {
    "Authorization": "Bearer client",
    "api-key": "client",
    "x-api-key": "client",
    "Cookie": "session=client",
}
OWN = {name.lower().encode(): [value.encode()] for name, value in CREDENTIALS.items()}


async def answer(exchange: Exchange) -> None:
    """Answer as the simulated upstream does, but over HTTP."""
    body = await exchange.read()
    if exchange.path.endswith(b"/embeddings"):
        await exchange.answer(answer_embeddings(body))
    else:
        await echo(exchange)


def embeddings(app: UpstreamApp) -> list[Exchange]:
    return [exchange for exchange in app.exchanges if exchange.path.endswith(b"/embeddings")]


@asynccontextmanager
async def client_of(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    async with setup.run() as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
        yield client


def embedding_upstream(**settings: Any) -> Setup:
    setup = Setup(embedder="upstream", **settings)
    setup.upstream.handler = answer
    return setup


async def ask(client: httpx.AsyncClient, text: str, **headers: str) -> httpx.Headers:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    response = await client.post("chat/completions", json=body, headers=headers)
    assert response.is_success
    return response.headers


async def test_what_the_upstreams_embeddings_find_is_verified_and_served() -> None:
    setup = embedding_upstream(verifier="on")
    setup.verifier = None  # the one that ships
    async with client_of(setup) as client:
        assert (await ask(client, "How do I reset my password?"))["x-cache"] == "MISS"
        assert (await ask(client, "how can i reset my password"))["x-cache"] == "HIT"
        assert (await ask(client, "how can i reset my username"))["x-cache"] == "MISS"


async def test_a_paraphrase_hits_at_the_distance_of_the_upstreams_embeddings() -> None:
    setup = embedding_upstream()
    first, second = "What is Valkey?", "Can you explain what Valkey is?"
    async with client_of(setup) as client:
        assert (await ask(client, first))["x-cache"] == "MISS"
        hit = await ask(client, second)
        assert (await ask(client, "How do I cook pasta?"))["x-cache"] == "MISS"
        assert (await ask(client, first))["cache-status"].endswith("detail=exact")
    distance = 1 - float(embed_words(first) @ embed_words(second))
    assert hit["x-cache-distance"] == f"{distance:.4f}"
    asked = [exchange.document for exchange in embeddings(setup.upstream)]
    assert [document["input"] for document in asked] == [first, second, "How do I cook pasta?"]
    assert {(d["model"], d["dimensions"], d["encoding_format"]) for d in asked} == {
        ("text-embedding-3-small", 1536, "base64")
    }


async def test_a_server_elsewhere_embeds_with_the_model_that_is_named() -> None:
    host = UpstreamApp(answer)
    async with upstream_of(host) as embedder:
        setup = Setup(embedder=embedder, embedding_model="bge-m3")
        async with client_of(setup) as client:
            await ask(client, "What is Valkey?")
            assert (await ask(client, "what is valkey"))["x-cache-distance"] == "0.0000"
    assert [exchange.document["model"] for exchange in host.exchanges] == ["bge-m3"] * 2
    assert embeddings(setup.upstream) == []


async def test_the_simulated_upstream_embeds_too() -> None:
    async with (
        Setup(embedder="upstream").run_before("simulated://") as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        await ask(client, "What is Valkey?")
        assert (await ask(client, "Tell me, what is Valkey?"))["x-cache"] == "HIT"


@pytest.mark.parametrize(
    ("settings", "received"),
    [
        ({}, OWN),
        ({"upstream_api_key": "ours"}, {b"authorization": [b"Bearer ours"]}),
        ({"upstream_api_key": "ours", "api_keys": "client"}, {b"authorization": [b"Bearer ours"]}),
        ({"api_keys": "client"}, {}),
        ({"embedder_api_key": "its"}, {b"authorization": [b"Bearer its"]}),
        (
            {"embedder_api_key": "its", "upstream_api_key": "ours"},
            {b"authorization": [b"Bearer its"]},
        ),
    ],
)
@pytest.mark.parametrize("path", ["", "/v1/other"])
async def test_the_upstream_is_sent_the_credential_that_it_is_sent_anyway(
    settings: dict[str, Any], received: dict[bytes, list[bytes]], path: str
) -> None:
    app = UpstreamApp(answer)
    async with upstream_of(app) as url:
        embedder = url.removesuffix("/v1") + path if path else "upstream"
        async with (
            Setup(embedder=embedder, **settings).run_before(url) as proxy_url,
            httpx.AsyncClient(base_url=proxy_url) as client,
        ):
            await ask(client, "What is Valkey?", **CREDENTIALS, **{"x-private": "1"})
    (exchange,) = embeddings(app)
    assert exchange.path == (path or "/v1").encode() + b"/embeddings"
    assert {name: exchange.header(name) for name in OWN if exchange.header(name)} == received
    assert exchange.header(b"x-private") == []


@pytest.mark.parametrize(
    ("settings", "received"),
    [
        ({}, []),
        ({"upstream_api_key": "ours"}, []),
        ({"api_keys": "client"}, []),
        ({"embedder_api_key": "its"}, [(b"authorization", b"Bearer its")]),
    ],
)
async def test_another_host_is_sent_no_credential_but_its_own(
    settings: dict[str, Any], received: list[tuple[bytes, bytes]]
) -> None:
    host = UpstreamApp(answer)
    async with (
        upstream_of(host) as embedder,
        client_of(Setup(embedder=embedder, **settings)) as client,
    ):
        await ask(client, "What is Valkey?", **CREDENTIALS)
    (exchange,) = host.exchanges
    assert [header for header in exchange.headers if header[0] in OWN] == received


async def hang(exchange: Exchange) -> None:
    await exchange.disconnected()


async def fail(exchange: Exchange) -> None:
    await exchange.answer({"error": "sk-secret"}, 500)


async def refuse(exchange: Exchange) -> None:
    await exchange.answer(
        {"error": "sk-secret"}, 401
    )  # our key, or the want of one: not a caller's


async def stall(exchange: Exchange) -> None:
    await exchange.start()
    await exchange.write(b'{"data":')
    await exchange.disconnected()


@pytest.mark.parametrize("trouble", [hang, fail, refuse, stall])
async def test_an_embedder_that_fails_is_soon_left_alone(trouble: Any) -> None:
    host = UpstreamApp(trouble)
    async with upstream_of(host) as embedder:
        # Long enough for a request to arrive at the embedder on a busy machine.
        setup = Setup(embedder=embedder, embedder_timeout=0.2)
        async with client_of(setup) as client:
            for number in range(10):
                status = (await ask(client, f"question {number}"))["cache-status"]
                assert status == "reprise; fwd=miss; detail=embedder-unavailable"
            assert (await ask(client, "question 0"))["x-cache"] == "HIT"
            assert (await client.get("../readyz")).json()["degraded"] == ["embedder"]
    assert len(host.exchanges) == 5


async def test_an_embedder_that_is_not_there_costs_no_request() -> None:
    async with client_of(Setup(embedder="http://127.0.0.1:1/v1")) as client:
        status = (await ask(client, "What is Valkey?"))["cache-status"]
        assert status == "reprise; fwd=miss; detail=embedder-unavailable"


async def test_what_is_refused_to_one_caller_leaves_the_others_their_hits() -> None:
    setup = embedding_upstream()

    async def refuse_some(exchange: Exchange) -> None:
        await exchange.read()
        known = exchange.header(b"authorization") == [b"Bearer good"]
        if exchange.path.endswith(b"/embeddings") and not known:
            await exchange.answer({"error": {}}, 429)
        else:
            await answer(exchange)

    setup.upstream.handler = refuse_some
    async with client_of(setup) as client:
        for number in range(20):
            status = await ask(client, f"question {number}", authorization="Bearer bad")
            assert status["cache-status"] == "reprise; fwd=miss; detail=embedder-unavailable"
        await ask(client, "What is Valkey?", authorization="Bearer good")
        assert (await ask(client, "valkey?", authorization="Bearer good"))["x-cache"] == "HIT"
        assert (await client.get("../readyz")).json()["degraded"] == []


async def test_a_wrong_number_of_dimensions_is_told_without_the_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = embedding_upstream(embedding_model="m", embedding_dimensions=8)
    async with client_of(setup) as client:
        status = (await ask(client, "sk-secret"))["cache-status"]
    assert status == "reprise; fwd=miss; detail=embedder-unavailable"
    assert "REPRISE_EMBEDDING_DIMENSIONS=8, but its embeddings have 1536" in caplog.text
    assert "sk-secret" not in caplog.text


async def test_a_text_that_is_too_long_is_matched_exactly_only() -> None:
    setup = embedding_upstream()
    async with client_of(setup) as client:
        for text, outcome in (("word " * 2000, "MISS"), ("word " * 2001, "MISS")):
            headers = await ask(client, text)
            assert (headers["x-cache"], "detail" in headers["cache-status"]) == (outcome, False)
        assert (await ask(client, "word " * 2000))["x-cache"] == "HIT"
    assert embeddings(setup.upstream) == []


def test_a_url_that_cannot_be_is_refused_under_its_name() -> None:
    with pytest.raises(ConfigurationError, match=r"^REPRISE_EMBEDDER=http://xn--\.com/v1: "):
        adapters_for(FixedSettings(embedder="http://xn--.com/v1"))
