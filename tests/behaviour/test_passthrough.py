"""Every route below /v1 that is not cached, on real sockets."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.servers import Exchange, Setup


async def ok(exchange: Exchange) -> None:
    await exchange.read()
    await exchange.answer({"ok": True})


@asynccontextmanager
async def client_of(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    async with setup.run() as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
        yield client


@pytest.fixture
def setup() -> Setup:
    setup = Setup()
    setup.upstream.handler = ok
    return setup


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(setup) as client:
        yield client


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
async def test_any_method_and_path_goes_on_with_its_query(
    client: httpx.AsyncClient, setup: Setup, method: str
) -> None:
    response = await client.request(method, "files/a%2Fb?limit=2&include[]=a&include[]=b&e=")
    assert response.status_code == 200
    assert response.headers["cache-status"] == "reprise; fwd=bypass; detail=passthrough"
    (exchange,) = setup.upstream.exchanges
    assert (exchange.method, exchange.path) == (method, b"/v1/files/a%2Fb")
    assert exchange.query == b"limit=2&include[]=a&include[]=b&e="


async def test_other_methods_of_a_cached_route_are_passed_through(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    await client.get("chat/completions?limit=2")
    await client.post("chat/completions/", json={})
    assert [(e.method, e.path) for e in setup.upstream.exchanges] == [
        ("GET", b"/v1/chat/completions"),
        ("POST", b"/v1/chat/completions/"),
    ]


async def test_headers_go_on_but_for_hop_by_hop_ones_and_ours(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    sent = [
        ("Authorization", "Bearer sk-1"),
        ("X-A", "1"),
        ("X-A", "2"),
        ("TE", "trailers"),
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authorization", "Basic x"),
        ("X-Cache-Namespace", "a"),
        ("Cache-Control", "no-cache"),
        ("Accept-Encoding", "br"),
        ("User-Agent", "test/1"),
        ("Accept", "*/*"),
    ]
    await client.get("models", headers=sent)
    (exchange,) = setup.upstream.exchanges
    assert [h for h in exchange.headers if h[0] != b"host"] == [
        (b"authorization", b"Bearer sk-1"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"accept-encoding", b"br"),
        (b"user-agent", b"test/1"),
        (b"accept", b"*/*"),
    ]


async def test_what_is_only_wanted_from_the_cache_is_not_asked_for(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    response = await client.get("models", headers={"Cache-Control": "only-if-cached"})
    assert (response.status_code, response.json()["error"]["code"]) == (504, "not_cached")
    assert setup.upstream.exchanges == []


async def test_status_and_headers_come_back_as_they_were(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(
            {"error": {}},
            529,
            (b"set-cookie", b"a=1"),
            (b"set-cookie", b"b=2"),
            (b"cache-status", b"inner; hit"),
            (b"x-cache", b"theirs"),
            (b"keep-alive", b"timeout=5"),
        )

    setup.upstream.handler = answer
    response = await client.get("models")
    assert response.status_code == 529
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert response.headers.get_list("cache-status") == [
        "inner; hit",
        "reprise; fwd=bypass; detail=passthrough",
    ]
    assert response.headers.get_list("x-cache") == ["BYPASS"]
    assert "keep-alive" not in response.headers


async def test_an_upload_reaches_the_upstream_while_it_is_being_sent(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    arrived = asyncio.Event()

    async def receive(exchange: Exchange) -> None:
        async for _ in exchange.pieces():
            arrived.set()
        await exchange.answer({"sha": hashlib.sha256(exchange.body).hexdigest()})

    async def body() -> AsyncIterator[bytes]:
        yield b"a" * 100_000
        await arrived.wait()
        yield b"b" * 100_000

    setup.upstream.handler = receive
    response = await client.post("files", content=body())
    expected = hashlib.sha256(b"a" * 100_000 + b"b" * 100_000).hexdigest()
    assert response.json() == {"sha": expected}


async def test_a_download_reaches_the_client_while_it_is_being_sent(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    release = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.start(200)
        await exchange.write(b"first")
        await release.wait()
        await exchange.end()

    setup.upstream.handler = answer
    async with client.stream("GET", "files/a/content") as response:
        pieces = response.aiter_raw()
        assert await anext(pieces) == b"first"
        release.set()
        assert [piece async for piece in pieces] == []


async def test_a_client_that_leaves_during_its_upload_releases_the_upstream(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    arrived, released = asyncio.Event(), asyncio.Event()

    async def receive(exchange: Exchange) -> None:
        await anext(exchange.pieces())
        arrived.set()
        await exchange.disconnected()
        released.set()

    async def body() -> AsyncIterator[bytes]:
        yield b"a" * 1000
        await arrived.wait()
        raise RuntimeError("the client breaks down")

    setup.upstream.handler = receive
    with pytest.raises(RuntimeError):
        await client.post("files", content=body())
    await asyncio.wait_for(released.wait(), 5)


async def test_a_large_body_of_a_cached_route_streams_past_the_cache() -> None:
    setup = Setup(max_body_bytes=10_000)
    setup.upstream.handler = ok
    async with client_of(setup) as client:
        body = b'{"model":"m","messages":[' + b" " * 20_000 + b'{"role":"user","content":"a"}]}'
        for _ in range(2):
            response = await client.post("chat/completions", content=body)
            assert response.headers["cache-status"] == "reprise; fwd=bypass; detail=body-too-large"
    assert [exchange.body for exchange in setup.upstream.exchanges] == [body, body]


KEYED: dict[str, Any] = {"upstream_api_key": "sk-ours"}


@pytest.mark.parametrize(
    ("settings", "method", "path", "status_code"),
    [
        ({}, "GET", "files", 200),
        ({"passthrough": "off"}, "GET", "files", 403),
        ({"passthrough": "off"}, "GET", "models", 403),
        (KEYED, "GET", "models", 200),
        (KEYED, "HEAD", "models", 200),
        (KEYED, "GET", "models/gpt-test", 200),
        (KEYED, "DELETE", "models/ft:gpt-test", 403),
        (KEYED, "GET", "models/meta-llama/Llama-3.1-8B", 200),
        (KEYED, "GET", "models/ft:gpt-4o:org::id", 200),
        (KEYED, "GET", "models/..%2Ffiles", 403),
        (KEYED, "GET", "models/..%5cfiles", 403),
        (KEYED, "GET", "models/..;/files", 403),
        (KEYED, "GET", "models/%252e%252e/files", 403),
        (KEYED, "GET", "modelsx", 403),
        (KEYED, "GET", "files", 403),
        (KEYED, "GET", "chat/completions", 403),
        (KEYED, "POST", "embeddings", 200),
        ({**KEYED, "passthrough": "on"}, "GET", "files", 200),
        ({**KEYED, "passthrough": "on"}, "GET", "%2e%2e/admin", 403),
        ({}, "GET", "..;/admin", 403),
        ({}, "GET", "..%5cadmin", 403),
        ({}, "GET", "%252e%252e/admin", 403),
        ({"api_keys": "k"}, "GET", "files", 403),
    ],
)
async def test_passthrough_is_open_as_far_as_it_is_said(
    settings: dict[str, Any], method: str, path: str, status_code: int
) -> None:
    setup = Setup(**settings)
    setup.upstream.handler = ok
    async with client_of(setup) as client:
        response = await client.request(method, path, headers={"Authorization": "Bearer k"})
    assert response.status_code == status_code
    assert len(setup.upstream.exchanges) == (status_code == 200)
    if status_code == 403:
        assert response.json()["error"]["code"] == "passthrough_disabled"


async def test_a_websocket_is_refused(client: httpx.AsyncClient, setup: Setup) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    response = await client.get("realtime", headers=upgrade)
    assert (response.status_code, setup.upstream.exchanges) == (501, [])
    assert response.json()["error"]["code"] == "websocket_unsupported"


async def test_a_path_outside_v1_is_not_found(client: httpx.AsyncClient, setup: Setup) -> None:
    for path in ("/", "/docs", "/openapi.json", "/v2/models", "/v1"):
        response = await client.get(str(client.base_url.copy_with(raw_path=path.encode())))
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "route_not_found"
    assert setup.upstream.exchanges == []
