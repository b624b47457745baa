"""Access to the proxy: clients with a key get it, and foreign web pages do not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import Exchange, Setup

CHAT = {"model": "m", "messages": [{"role": "user", "content": "valkey what"}]}


@asynccontextmanager
async def client_of(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    async with setup.run() as url, httpx.AsyncClient(base_url=url) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer key-1x"},
        {"Authorization": "Bearer key-"},
        {"Authorization": "Basic key-1"},
        {"Authorization": "key-1"},
        {"Authorization": "Bearer"},
        {"api-key": "wrong"},
        {"Cookie": "key-1"},
        {"x-other": "key-1"},
    ],
)
async def test_without_a_known_key_nothing_happens(headers: dict[str, str]) -> None:
    setup = Setup(api_keys="key-1,key-2")
    async with client_of(setup) as client:
        for method, path in [("POST", "chat/completions"), ("GET", "models"), ("GET", "nowhere")]:
            response = await client.request(method, path, json=CHAT, headers=headers)
            assert response.status_code == 401
            assert response.json()["error"] == {
                "message": "Incorrect API key provided.",
                "type": "invalid_request_error",
                "param": None,
                "code": "invalid_api_key",
            }
    assert setup.upstream.exchanges == []
    assert setup.store.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer key-1"},
        {"Authorization": "bearer key-2"},
        {"api-key": "key-1"},
        {"x-api-key": "key-2"},
    ],
)
async def test_a_known_key_opens_and_stays_here(headers: dict[str, str]) -> None:
    setup = Setup(api_keys="key-1, key-2", upstream_api_key="sk-ours")
    async with client_of(setup) as client:
        sent = {**headers, "Cookie": "a=1"}
        assert (await client.post("chat/completions", json=CHAT, headers=sent)).is_success
    (exchange,) = setup.upstream.exchanges
    assert exchange.header(b"authorization") == [b"Bearer sk-ours"]
    for name in (b"api-key", b"x-api-key", b"cookie"):
        assert exchange.header(name) == []


async def models(exchange: Exchange) -> None:
    await exchange.answer({"object": "list", "data": []})


async def test_keys_in_files_can_be_exchanged_while_the_proxy_runs(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    setup = Setup(api_keys_file=str(theirs), upstream_api_key_file=str(ours))
    theirs.write_text("key-1\nkey-2\n")
    ours.write_text("sk-old\n")
    statuses = []
    async with client_of(setup) as client:
        setup.upstream.handler = models
        for _ in range(2):
            for key in ("key-1", "key-2", "key-3"):
                response = await client.get("models", headers={"Authorization": f"Bearer {key}"})
                statuses.append(response.status_code)
            theirs.write_text("key-2\n\n# new\nkey-3\n")
            ours.write_text("sk-newer\n")
            setup.clock.now += 1
    assert statuses == [200, 200, 401, 401, 200, 200]
    sent = [exchange.header(b"authorization") for exchange in setup.upstream.exchanges]
    assert sent == [[b"Bearer sk-old"]] * 2 + [[b"Bearer sk-newer"]] * 2


async def test_callers_with_different_keys_share_nothing_unless_told_to() -> None:
    for isolation, outcome in (("credential", "MISS"), ("shared", "HIT")):
        setup = Setup(api_keys="key-1,key-2", isolation=isolation)
        async with client_of(setup) as client:
            for key, expected in (("key-1", "MISS"), ("key-2", outcome)):
                headers = {"Authorization": f"Bearer {key}"}
                response = await client.post("chat/completions", json=CHAT, headers=headers)
                assert response.headers["x-cache"] == expected


@pytest.mark.parametrize(
    ("headers", "status_code"),
    [
        ({}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "evil.test"}, 403),
        ({"Host": "127.0.0.1.evil.test"}, 403),
        ({"Host": "localhost.evil.test:8000"}, 403),
        ({"Host": "10.0.0.1"}, 403),
        ({"Host": "[127.0.0.1]evil.com"}, 400),
        ({"Host": "[::1].evil.com"}, 400),
        ({"Host": "[localhost]"}, 403),
        ({"Host": "[::1%25evil.com]"}, 403),
        ({"Host": "localhost:8000:8000"}, 400),
        ({"Origin": "https://evil.test"}, 403),
        ({"Origin": "http://localhost:8000"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_web_pages_cannot_use_the_key_that_we_hold(
    headers: dict[str, str], status_code: int
) -> None:
    setup = Setup(upstream_api_key="sk-ours")
    async with client_of(setup) as client:
        response = await client.post("chat/completions", json=CHAT, headers=headers)
        assert response.status_code == status_code
    assert len(setup.upstream.exchanges) == (status_code == 200)


@pytest.mark.parametrize("settings", [{}, {"upstream_api_key": "sk-ours", "api_keys": "key-1"}])
async def test_web_pages_may_come_where_they_bring_their_own_key(settings: dict[str, Any]) -> None:
    setup = Setup(**settings)
    headers = {"Origin": "https://app.test", "Authorization": "Bearer key-1"}
    async with client_of(setup) as client:
        assert (await client.post("chat/completions", json=CHAT, headers=headers)).is_success
