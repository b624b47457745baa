"""Purges of some entries, and feedback, over HTTP, on every store."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.behaviour.every_store import STORES, TOKEN, ask, client_of, outcome, setup_with
from tests.fakes import completion
from tests.servers import Exchange, Setup


@pytest.fixture(params=STORES)
async def setup(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Setup]:
    async with setup_with(request.param, tmp_path) as setup:
        yield setup


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(setup) as client:
        yield client


async def purge(client: httpx.AsyncClient, **selector: Any) -> dict[str, Any]:
    response = await client.post("/cache/purge", json=selector)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def stranger() -> dict[str, str]:
    return {"Authorization": "Bearer another caller"}


ENTRIES: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("valkey what", {}, {"x-cache-tags": "a, b"}),
    ("pasta how", {"model": "rare"}, {"x-cache-tags": "b"}),
    ("valkey where", {}, {"x-cache-namespace": "n"}),
    ("valkey when", {"temperature": 0.5}, {"x-cache-namespace": "n", **stranger()}),
    ("paris who", {"model": "rare"}, stranger()),
]
SELECTED: list[tuple[dict[str, Any], list[str]]] = [
    ({"tag": "a"}, ["valkey what"]),
    ({"tag": "b"}, ["pasta how", "valkey what"]),
    ({"tag": "A"}, []),
    ({"model": "rare"}, ["paris who", "pasta how"]),
    ({"namespace": "n"}, ["valkey when", "valkey where"]),
    ({"about": "valkey what", "max_distance": 0}, ["valkey what"]),
    ({"about": "valkey", "max_distance": 0.2}, ["valkey what", "valkey when", "valkey where"]),
    ({"about": "valkey", "max_distance": 2}, sorted(text for text, *_ in ENTRIES)),
    ({"tag": "b", "model": "rare"}, ["pasta how"]),
    ({"caller": "another caller"}, ["paris who", "valkey when"]),
    ({"caller": "Bearer another caller"}, ["paris who", "valkey when"]),
    ({"caller": "another"}, []),
    ({"caller": "another caller", "model": "rare"}, ["paris who"]),
    ({"about": "valkey", "max_distance": 0.2, "namespace": "n"}, ["valkey when", "valkey where"]),
]


async def test_what_is_selected_goes_and_all_else_stays(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "reprise.admin")
    for selector, gone in SELECTED:
        for text, fields, headers in ENTRIES:
            await ask(client, text, headers, **fields)
        preview = await purge(client, **selector, dry_run=True)
        assert sorted(entry["prompt"] for entry in preview["entries"]) == gone
        assert (preview["purged"], preview["dry_run"]) == (len(gone), True)
        caplog.clear()
        assert await purge(client, **selector) == {"purged": len(gone), "dry_run": False}
        (logged,) = [r.getMessage() for r in caplog.records if r.name == "reprise.admin"]
        names = ("tag", "model", "namespace", "caller", "about")
        how = " and ".join(name for name in names if name in selector)
        assert logged == f"purged by {how}: {len(gone)} entries"
        left = (await client.get("/cache/entries")).json()["entries"]
        assert sorted(gone + [entry["prompt"] for entry in left]) == sorted(e[0] for e in ENTRIES)
        for text, fields, headers in ENTRIES:
            answer = await ask(client, text, {**headers, "Cache-Control": "max-age=60"}, **fields)
            if text not in gone:
                assert answer.headers["x-cache"] == "HIT"


async def test_a_preview_tells_how_far_entries_are_and_removes_nothing(
    client: httpx.AsyncClient,
) -> None:
    for text, fields, headers in ENTRIES:
        await ask(client, text, headers, **fields)
    preview = await purge(client, about="valkey", max_distance=0.2, dry_run=True)
    assert preview["entries"]
    assert all(0 < entry["distance"] <= 0.2 for entry in preview["entries"])
    assert len((await client.get("/cache/entries")).json()["entries"]) == len(ENTRIES)


async def embed(client: httpx.AsyncClient, headers: dict[str, str]) -> str:
    body = {"model": "m", "input": ["one", "two"]}
    answer = await client.post("/v1/embeddings", json=body, headers=headers)
    outcome: str = answer.headers["x-cache"]
    return outcome


async def test_a_caller_is_forgotten_with_embeddings_and_hits(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    async def either(exchange: Exchange) -> None:
        await exchange.read()
        if not exchange.path.endswith(b"/embeddings"):
            await exchange.answer(completion("here"))
            return
        data = [
            {"object": "embedding", "index": index, "embedding": [0.5, 0.25]}
            for index, _ in enumerate(exchange.document["input"])
        ]
        usage = {"prompt_tokens": 2, "total_tokens": 2}
        await exchange.answer({"object": "list", "data": data, "model": "m", "usage": usage})

    setup.upstream.handler = either
    ann, bob = {"Authorization": "Bearer sk-ann"}, {"api-key": "sk-bob"}
    for who in (ann, bob):
        assert [await embed(client, who) for _ in range(2)] == ["MISS", "HIT"]
        for _ in range(2):
            await ask(client, "valkey what", who)
    assert (await purge(client, caller="sk-ann", dry_run=True))["purged"] == 3
    assert (await purge(client, caller="sk-ann"))["purged"] == 3
    assert (await purge(client, caller="sk-ann"))["purged"] == 0
    assert await embed(client, ann) == "MISS"
    assert (await ask(client, "valkey what", ann)).headers["x-cache"] == "MISS"
    assert await embed(client, bob) == "HIT"
    assert (await ask(client, "valkey what", bob)).headers["x-cache"] == "HIT"
    entries = (await client.get("/cache/entries")).json()["entries"]
    assert sorted(entry["hits"] for entry in entries) == [0, 2]


async def test_a_preview_of_very_many_shows_some(client: httpx.AsyncClient) -> None:
    for index in range(30):
        await ask(client, f"w{index} x")
    for selector in ({"all": True}, {"model": "m"}):
        preview = await purge(client, **selector, dry_run=True)
        assert preview["purged"] == 30
        assert 1 <= len(preview["entries"]) <= 10


@pytest.mark.parametrize(
    "selector", [{"tag": "a"}, {"model": "m"}, {"about": "x", "max_distance": 0.1}, {"all": True}]
)
async def test_an_answer_on_its_way_is_not_stored_after_a_purge(
    client: httpx.AsyncClient, setup: Setup, selector: dict[str, Any]
) -> None:
    reached, opened = asyncio.Event(), asyncio.Event()

    async def slowly(exchange: Exchange) -> None:
        await exchange.read()
        reached.set()
        await opened.wait()
        await exchange.answer(completion("late"))

    setup.upstream.handler = slowly
    asking = asyncio.create_task(outcome(client, "valkey what", "a"))
    await reached.wait()
    assert await purge(client, **selector) == {"purged": 0, "dry_run": False}
    opened.set()
    assert await asking == "MISS"
    assert await outcome(client, "valkey what", "a") == "MISS"
    assert await outcome(client, "valkey what", "a") == "HIT"


async def test_the_entries_are_filtered(client: httpx.AsyncClient) -> None:
    # A list does not wait for writes that are under way; a hit waits for that of its entry.
    for text, fields, headers in (*ENTRIES, *ENTRIES):
        await ask(client, text, headers, **fields)
    for query, texts in (
        ({"tag": "b"}, {"valkey what", "pasta how"}),
        ({"model": "rare"}, {"pasta how", "paris who"}),
        ({"tag": "b", "model": "rare"}, {"pasta how"}),
        ({"namespace": "n"}, {"valkey where", "valkey when"}),
        ({"tag": "none"}, set()),
    ):
        seen: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            params = httpx.QueryParams({"limit": 1, "cursor": cursor, **query})
            page = (await client.get("/cache/entries", params=params)).json()
            seen += page["entries"]
            cursor = page["cursor"]
        assert {entry["prompt"] for entry in seen} == texts
        assert len(seen) == len(texts)
    (entry,) = (await client.get("/cache/entries", params={"tag": "a"})).json()["entries"]
    assert (entry["tags"], entry["namespace"], entry["disputed"]) == (["a", "b"], None, False)


async def test_a_wrong_answer_answers_the_very_same_question_until_it_is_called_wrong_again(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def judge(*, correct: bool) -> str:
        said = await client.post("/cache/feedback", json={"id": entry, "correct": correct})
        assert said.json()["id"] == entry
        standing: str = said.json()["standing"]
        return standing

    entry = (await ask(client, "valkey what")).headers["x-cache-entry"]
    assert await judge(correct=True) == "trusted"
    assert await outcome(client, "valkey is what") == "HIT"
    assert await judge(correct=False) == "exact_only"
    assert await outcome(client, "valkey what") == "HIT"
    assert await outcome(client, "valkey what is") == "MISS"
    assert (await client.get(f"/cache/entries/{entry}")).json()["disputed"] is True
    assert await judge(correct=True) == "trusted"
    assert await judge(correct=False) == "exact_only"
    with caplog.at_level(logging.INFO, "reprise.admin"):
        assert await judge(correct=False) == "removed"
    assert "1 entry was reported as wrong; its standing is now: removed" in caplog.text
    assert entry not in caplog.text
    assert await outcome(client, "valkey what", temperature=0.1) == "MISS"
    gone = await client.post("/cache/feedback", json={"id": entry, "correct": False})
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "entry_not_found")


async def test_the_operators_token_is_not_told(client: httpx.AsyncClient) -> None:
    assert TOKEN not in (await client.get("/cache/stats")).text
