"""The API without the prefix `/v1`: below Azure's prefixes, and without any prefix."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
from pydantic import SecretStr

from tests.fakes import completion, embeddings_json
from tests.servers import JSON_TYPE, Exchange, Setup, upstream_of

HELLO = [{"role": "user", "content": "valkey what"}]


@asynccontextmanager
async def root_of(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    """Run the proxy, and yield a client of its root."""
    async with setup.run() as url:
        root = url.removesuffix("/v1")
        async with httpx.AsyncClient(base_url=root, timeout=10) as client:
            yield client


async def either(exchange: Exchange) -> None:
    """Answer text completions, embeddings and chats, depending on the path."""
    await exchange.read()
    if exchange.path.endswith((b"/v1/completions", b"/gpt-a/completions", b"/gpt%20a/completions")):
        choice = {"index": 0, "text": "Hi there", "logprobs": None, "finish_reason": "stop"}
        await exchange.answer({"model": "m", "choices": [choice]})
    elif exchange.path.endswith(b"/embeddings"):
        await exchange.start(200, JSON_TYPE)
        await exchange.write(embeddings_json(exchange))
        await exchange.end()
    else:
        await exchange.answer(completion("Hi there"))


CASES = [
    ("/v1/{}", b"/v1/{}", b""),
    ("/openai/v1/{}", b"/v1/{}", b""),
    ("/{}", b"/v1/{}", b""),
    ("/openai/deployments/gpt%20a/{}", b"/openai/deployments/gpt%20a/{}", b""),
    (
        "/openai/deployments/gpt-a/{}?api-version=2024-10-21",
        b"/openai/deployments/gpt-a/{}",
        b"api-version=2024-10-21",
    ),
]


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("chat/completions", {"messages": HELLO}),
        ("completions", {"prompt": "valkey what"}),
        ("embeddings", {"input": "one"}),
    ],
)
async def test_cached_routes_are_found_below_every_prefix_and_keyed_apart(
    route: str, body: dict[str, Any]
) -> None:
    setup = Setup()
    setup.upstream.handler = either
    async with root_of(setup) as client:
        for expected in ("MISS", "HIT"):
            for asked, _, _ in CASES:
                model = {} if "deployments" in asked else {"model": "m"}
                response = await client.post(asked.format(route), json={**body, **model})
                assert response.status_code == 200, asked
                assert response.headers["x-cache"] == expected, asked
    assert [(e.path, e.query) for e in setup.upstream.exchanges] == [
        (path.replace(b"{}", route.encode()), query) for _, path, query in CASES
    ]
    labels = route.replace("/", "_")
    assert setup.metrics.requests.labels(labels, "MISS", "")._value.get() == len(CASES)


async def test_other_routes_below_the_prefixes_are_passed_through() -> None:
    setup = Setup()
    setup.upstream.handler = either
    paths = ["/openai/v1/files/a%2Fb", "/openai/models?api-version=1", "/models", "/audio/speech"]
    async with root_of(setup) as client:
        for path in paths:
            told = await client.get(path)
            assert told.headers["cache-status"] == "reprise; fwd=bypass; detail=passthrough"
        for path in ("/favicon.ico", "/", "/chats", "/openai", "//models"):
            assert (await client.get(path)).status_code == 404, path
    assert [exchange.path for exchange in setup.upstream.exchanges] == [
        *(b"/v1/files/a%2Fb", b"/openai/models", b"/v1/models", b"/v1/audio/speech"),
    ]


@pytest.mark.parametrize("base", ["", "/openai", "/openai/v1", "/team", "/team/openai/v1"])
async def test_a_deployment_goes_on_as_it_came_whatever_the_upstreams_base_path(base: str) -> None:
    setup = Setup()
    setup.upstream.handler = either
    path = "/openai/deployments/a/chat/completions"
    async with (
        upstream_of(setup.upstream) as upstream,
        setup.run_before(upstream.removesuffix("/v1") + base) as url,
        httpx.AsyncClient() as client,
    ):
        told = await client.post(url.removesuffix("/v1") + path, json={"messages": HELLO})
    before = "/team" if base.startswith("/team") else ""
    assert told.status_code == 200
    assert setup.upstream.exchanges[-1].path == (before + path).encode()


@pytest.mark.parametrize("name", ["%2e%2e", "%2E", ".%2E", "..%2f.."])
@pytest.mark.parametrize("route", ["chat/completions", "embeddings", "files"])
async def test_no_deployment_leads_elsewhere(name: str, route: str) -> None:
    setup = Setup(passthrough="on")
    setup.upstream.handler = either
    async with root_of(setup) as client:
        target = f"/openai/deployments/{name}/{route}".encode()
        url = client.base_url.copy_with(raw_path=target)
        told = await client.post(url, json={"messages": HELLO, "input": "one"})
    assert (told.status_code, told.json()["error"]["code"]) == (403, "passthrough_disabled")
    assert setup.upstream.exchanges == []


@pytest.mark.parametrize("path", [p.format("chat/completions").split("?")[0] for p, _, _ in CASES])
async def test_every_prefix_is_behind_the_gate(path: str) -> None:
    setup = Setup(api_keys=(SecretStr("sk-1"),), upstream_api_key=SecretStr("sk-up"))
    setup.upstream.handler = either
    body = {"model": "m", "messages": HELLO}
    async with root_of(setup) as client:
        assert (await client.post(path, json=body)).status_code == 401
        assert (await client.post(path.replace("a", "%61"), json=body)).status_code in {401, 404}
        assert not setup.upstream.exchanges
        told = await client.post(path, json=body, headers={"api-key": "sk-1"})
    assert told.status_code == 200
    (exchange,) = setup.upstream.exchanges
    own = b"sk-up" if "deployments" in path else None
    assert exchange.header(b"api-key") == ([own] if own else [])
    assert exchange.header(b"authorization") == ([] if own else [b"Bearer sk-up"])


async def test_azures_sdk_gets_misses_and_hits() -> None:
    setup = Setup()
    setup.upstream.handler = either
    async with (
        root_of(setup) as client,
        openai.AsyncAzureOpenAI(
            azure_endpoint=str(client.base_url),
            api_key="k",
            api_version="2024-10-21",
            max_retries=0,
        ) as sdk,
    ):
        for _ in range(2):
            chat = await sdk.chat.completions.create(model="gpt-a", messages=HELLO)  # type: ignore[arg-type]
            assert chat.choices[0].message.content == "Hi there"
            assert (await sdk.embeddings.create(model="emb-a", input="one")).data[0].embedding
    assert [exchange.path for exchange in setup.upstream.exchanges] == [
        b"/openai/deployments/gpt-a/chat/completions",
        b"/openai/deployments/emb-a/embeddings",
    ]
