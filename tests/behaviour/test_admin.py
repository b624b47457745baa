"""The operator's routes, over HTTP."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.fakes import completion
from tests.servers import Exchange, Setup

TOKEN = "admin-token"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def setup() -> Setup:
    return Setup(admin_token=TOKEN)


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the proxy's root, with the operator's token."""
    async with setup.run() as url:
        base_url = url.removesuffix("/v1")
        async with httpx.AsyncClient(base_url=base_url, headers=ADMIN) as client:
            yield client


async def ask(client: httpx.AsyncClient, text: str, **fields: Any) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    response = await client.post("/v1/chat/completions", json=body)
    assert response.is_success
    return response


ROUTES = [
    ("GET", "/cache/stats"),
    ("GET", "/cache/report"),
    ("GET", "/cache/entries"),
    ("GET", "/cache/entries/0123"),
    ("DELETE", "/cache/entries/0123"),
    ("POST", "/cache/purge"),
    ("POST", "/cache/explain"),
    ("POST", "/cache/feedback"),
    ("GET", "/cache/export"),
    ("POST", "/cache/import"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"x-api-key": ""}])
async def test_without_the_token_nothing_is_told(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]
) -> None:
    client.headers = httpx.Headers(headers)
    response = await client.request(method, path)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_admin_token")


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_where_no_token_is_set_there_are_no_such_routes(method: str, path: str) -> None:
    async with Setup().run() as url, httpx.AsyncClient(headers=ADMIN) as client:
        response = await client.request(method, url.removesuffix("/v1") + path)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "route_not_found")


async def test_the_admin_routes_are_not_below_v1(client: httpx.AsyncClient, setup: Setup) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer({"from": "upstream"})

    setup.upstream.handler = answer
    assert (await client.get("/v1/cache/stats")).json() == {"from": "upstream"}


async def test_an_entry_shows_its_question_its_answer_and_its_age(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    entry = (await ask(client, "valkey what")).headers["x-cache-entry"]
    setup.clock.advance(90)
    shown = (await client.get(f"/cache/entries/{entry}")).json()
    assert shown["id"] == entry
    assert (shown["prompt"], shown["model"]) == ("valkey what", "m")
    assert (shown["age"], shown["ttl"]) == (90, 3510)
    message = shown["response"]["choices"][0]["message"]
    assert message == completion("Answer to valkey what")["choices"][0]["message"]


async def test_the_entries_are_listed_page_by_page(client: httpx.AsyncClient) -> None:
    entries = {(await ask(client, f"w{i} x")).headers["x-cache-entry"] for i in range(5)}
    seen: list[str] = []
    cursor: str | None = ""
    pages = 0
    while cursor is not None:
        page = (await client.get("/cache/entries", params={"limit": 2, "cursor": cursor})).json()
        seen += [entry["id"] for entry in page["entries"]]
        cursor = page["cursor"]
        pages += 1
    assert (set(seen), len(seen), pages) == (entries, 5, 3)


async def test_the_entries_of_one_model_are_listed(client: httpx.AsyncClient) -> None:
    for index in range(30):
        await ask(client, f"w{index} x", model="rare" if index % 10 == 0 else "m")
    page = (await client.get("/cache/entries", params={"limit": 2, "model": "rare"})).json()
    assert [entry["model"] for entry in page["entries"]] == ["rare"] * 2
    following = {"limit": 2, "model": "rare", "cursor": page["cursor"]}
    (last,) = (await client.get("/cache/entries", params=following)).json()["entries"]
    assert last["model"] == "rare"


async def test_a_deleted_entry_answers_nobody(client: httpx.AsyncClient) -> None:
    entry = (await ask(client, "valkey what")).headers["x-cache-entry"]
    assert (await ask(client, "valkey what")).headers["x-cache"] == "HIT"
    assert (await client.delete(f"/cache/entries/{entry}")).json() == {"deleted": 1}
    for method in ("GET", "DELETE"):
        gone = await client.request(method, f"/cache/entries/{entry}")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "entry_not_found")
    assert (await ask(client, "valkey what")).headers["x-cache"] == "MISS"


async def test_a_purge_removes_everything_and_a_dry_run_nothing(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    for text in ("valkey what", "pasta how"):
        await ask(client, text)
    preview = await client.post("/cache/purge", json={"all": True, "dry_run": True})
    shown = preview.json()
    assert (shown["purged"], shown["dry_run"]) == (2, True)
    assert [entry["prompt"] for entry in shown["entries"]] == ["valkey what", "pasta how"]
    assert (await ask(client, "valkey what")).headers["x-cache"] == "HIT"
    with caplog.at_level(logging.INFO, "reprise.admin"):
        purged = await client.post("/cache/purge", json={"all": True})
    assert purged.json() == {"purged": 2, "dry_run": False}
    assert [r.getMessage() for r in caplog.records if r.name == "reprise.admin"] == [
        "purged all: 2 entries"
    ]
    assert (await ask(client, "valkey what")).headers["x-cache"] == "MISS"


async def test_the_stats_add_up(client: httpx.AsyncClient) -> None:
    for text in ("valkey what", "valkey what", "valkey is what", "pasta how"):
        await ask(client, text)
    await ask(client, "valkey what", store=True)
    stats = (await client.get("/cache/stats")).json()
    assert stats["entries"] == {"chat_completion": 2, "embedding": 0}
    assert stats["requests"] == {"HIT": 2, "MISS": 2, "BYPASS": 1, "PARTIAL": 0, "STALE": 0}
    assert stats["embedder"] == {"name": "fake", "dimensions": 8}
    assert stats["store"] == {"kind": "fake"}
    assert stats["degraded"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"all": 1}',
        b'{"all": false}',
        b'{"all": true, "dry_run": 1}',
        b'{"all": true, "modle": "m"}',
        b'{"all": true, "model": "m"}',
        b'{"all": true, "max_distance": 1}',
        b'{"all": true, "dry_run": null}',
        b'{"dry_run": true}',
        b'{"tag": ""}',
        b'{"tag": ["valkey"]}',
        b'{"model": null}',
        b'{"about": "valkey what"}',
        b'{"max_distance": 2}',
        b'{"model": "m", "max_distance": 2}',
        b'{"about": "valkey what", "max_distance": "2"}',
        b'{"about": "valkey what", "max_distance": true}',
        b'{"about": "valkey what", "max_distance": 2.1}',
        b'{"about": "valkey what", "max_distance": -0.1}',
        b'{"about": "", "max_distance": 2}',
        b'{"model": "m", "model": "m"}',
    ],
)
async def test_a_purge_that_is_not_understood_removes_nothing(
    client: httpx.AsyncClient, body: bytes
) -> None:
    await ask(client, "valkey what")
    refused = await client.post("/cache/purge", content=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")
    assert (await ask(client, "valkey what")).headers["x-cache"] == "HIT"


async def test_a_purge_that_is_too_long_removes_nothing(client: httpx.AsyncClient) -> None:
    await ask(client, "valkey what")
    refused = await client.post("/cache/purge", content=b" " * 70_000 + b'{"all": true}')
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "body_too_large")
    assert (await ask(client, "valkey what")).headers["x-cache"] == "HIT"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=²", "limit=" + 5000 * "1", "tga=x"]
)
async def test_a_list_that_is_not_understood_is_refused(
    client: httpx.AsyncClient, query: str
) -> None:
    refused = await client.get(f"/cache/entries?{query}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")


async def test_an_operator_is_told_when_the_store_fails(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    async def fail() -> None:
        raise RuntimeError

    setup.store.before = fail
    for method, path, body in (
        ("GET", "/cache/entries", None),
        ("GET", "/cache/entries/0123", None),
        ("DELETE", "/cache/entries/0123", None),
        ("POST", "/cache/purge", {"all": True}),
        ("POST", "/cache/purge", {"all": True, "dry_run": True}),
        ("POST", "/cache/purge", {"tag": "a"}),
        ("POST", "/cache/purge", {"tag": "a", "dry_run": True}),
        ("POST", "/cache/feedback", {"id": "0123", "correct": False}),
    ):
        failed = await client.request(method, path, json=body)
        assert (failed.status_code, failed.json()["error"]["code"]) == (503, "store_unavailable")
    stats = (await client.get("/cache/stats")).json()
    assert (stats["entries"], stats["store"]) == (None, None)


async def test_a_text_that_cannot_be_embedded_purges_nothing(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    async def fail() -> None:
        raise RuntimeError

    await ask(client, "valkey what")
    body = {"about": "cobalt", "max_distance": 2}
    setup.embedder.answer = lambda _: None
    refused = await client.post("/cache/purge", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")
    setup.embedder.before = fail
    failed = await client.post("/cache/purge", json=body)
    assert (failed.status_code, failed.json()["error"]["code"]) == (503, "embedder_unavailable")
    assert (await ask(client, "valkey what")).headers["x-cache"] == "HIT"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"id": "a"}',
        b'{"id": 1, "correct": true}',
        b'{"id": "a", "correct": 1}',
        b'{"id": "a", "correct": true, "why": "x"}',
    ],
)
async def test_feedback_that_is_not_understood_is_refused(
    client: httpx.AsyncClient, body: bytes
) -> None:
    refused = await client.post("/cache/feedback", content=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")


async def test_an_entry_tells_how_often_it_has_answered_and_from_how_far_away(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    entry = (await ask(client, "valkey what")).headers["x-cache-entry"]
    near = [await ask(client, text) for text in ("valkey is what", "valkey what is")]
    await ask(client, "valkey what")
    shown = (await client.get(f"/cache/entries/{entry}")).json()
    assert shown["hits"] == 3
    told = [f"{distance:.4f}" for distance in shown["distances"]]
    assert told == [answer.headers["x-cache-distance"] for answer in near]
    assert (shown["exact_hits"], [one["asked"] for one in shown["answered"]]) == (
        1,
        ["valkey what is", "valkey is what"],
    )
    assert [one["distance"] for one in shown["answered"]] == shown["distances"][::-1]
    (line,) = (await client.get("/cache/entries")).json()["entries"]
    assert (line["hits"], "distances" in line, "answered" in line) == (3, False, False)

    setup.clock.advance(1)
    headers = {"Cache-Control": "no-cache"}
    body = {"model": "m", "messages": [{"role": "user", "content": "valkey what"}]}
    await client.post("/v1/chat/completions", json=body, headers=headers)
    assert (await client.get(f"/cache/entries/{entry}")).json()["hits"] == 0
