"""An operator's searches: entries in an order, by words and by meaning, and pairs to review."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.servers import Setup

TOKEN = "admin-token"


@pytest.fixture
def setup() -> Setup:
    return Setup(admin_token=TOKEN, verifier="on")


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the proxy's root, with the operator's token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with setup.run() as url, httpx.AsyncClient(headers=headers) as client:
        client.base_url = httpx.URL(url.removesuffix("/v1"))
        yield client


async def ask(client: httpx.AsyncClient, setup: Setup, text: str, **fields: Any) -> str:
    """Ask a question, one second after the previous one. Return the id of its entry."""
    setup.clock.advance(1)
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    response = await client.post("/v1/chat/completions", json=body)
    assert response.is_success
    return str(response.headers["x-cache-entry"])


async def found(client: httpx.AsyncClient, **query: Any) -> list[str]:
    response = await client.post("/cache/search", json=query)
    assert response.status_code == 200, response.text
    return [entry["prompt"] for entry in response.json()["entries"]]


async def test_entries_are_found_in_the_order_that_is_asked_for(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    pasta = await ask(client, setup, "pasta how")
    await ask(client, setup, "valkey what")
    await ask(client, setup, "tea when")
    for text in ("valkey what", "valkey what", "pasta how"):
        await ask(client, setup, text)
    assert await found(client) == ["tea when", "valkey what", "pasta how"]
    assert await found(client, by="newest", limit=1) == ["tea when"]
    assert await found(client, by="most-used") == ["valkey what", "pasta how"]
    assert await found(client, by="disputed") == []
    await client.post("/cache/feedback", json={"id": pasta, "correct": False})
    assert await found(client, by="disputed") == ["pasta how"]


async def test_entries_are_found_by_words_in_any_case(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    for text in ("Valkey what", "pasta how", "what is VALKEY"):
        await ask(client, setup, text)
    assert await found(client, by="text", text="valKEY") == ["what is VALKEY", "Valkey what"]
    assert await found(client, by="text", text="valkey what") == ["Valkey what"]
    assert await found(client, by="text", text="nothing") == []


async def test_entries_are_found_by_meaning_the_nearest_first(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    for text in ("pasta how", "valkey what"):
        await ask(client, setup, text)
    query = {"by": "meaning", "text": "valkey is what"}
    told = (await client.post("/cache/search", json=query)).json()
    assert [entry["prompt"] for entry in told["entries"]] == ["valkey what", "pasta how"]
    near, far = (entry["distance"] for entry in told["entries"])
    assert 0 < near < far
    assert (told["searched"], told["searched_all"]) == (2, True)


async def test_a_search_keeps_to_a_model(client: httpx.AsyncClient, setup: Setup) -> None:
    await ask(client, setup, "pasta how")
    await ask(client, setup, "tea when", model="other")
    assert await found(client, model="other") == ["tea when"]


@pytest.mark.parametrize(
    "query",
    [
        {"by": "oldest"},
        {"by": 1},
        {"by": "text"},
        {"by": "newest", "text": "x"},
        {"by": "text", "text": 1},
        {"limit": 0},
        {"limit": 201},
        {"limit": True},
        {"limit": "1"},
        {"model": 1},
        {"tag": None},
        {"modle": "m"},
    ],
)
async def test_a_search_that_is_not_understood_is_refused(
    client: httpx.AsyncClient, query: dict[str, Any]
) -> None:
    refused = await client.post("/cache/search", json=query)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")


async def reviewed(client: httpx.AsyncClient) -> list[tuple[str, str, bool]]:
    pairs = (await client.get("/cache/review")).json()["pairs"]
    return [(pair["asked"], pair["stored"], pair["answers"]) for pair in pairs]


async def test_the_pairs_to_review_are_those_that_the_verifier_doubts_most(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    entry = await ask(client, setup, "valkey what")
    line = (await client.get("/cache/stats")).json()["in_force"]["min_probability"]
    for text, probability in (("valkey is what", line), ("valkey or what", line / 2)):
        setup.verifier.answer = lambda _, told=probability: told
        await ask(client, setup, text)
    assert await reviewed(client) == [
        ("valkey is what", "valkey what", True),
        ("valkey or what", "valkey what", False),
    ]
    await client.delete(f"/cache/entries/{entry}")
    assert await reviewed(client) == []


async def test_an_entry_tells_whom_it_answered_until_any_purge(
    client: httpx.AsyncClient, setup: Setup
) -> None:
    setup.verifier.answer = lambda _: 0.99
    entry = await ask(client, setup, "valkey what")
    await ask(client, setup, "valkey is what")
    shown = (await client.get(f"/cache/entries/{entry}")).json()
    (answered,) = shown["answered"]
    assert (answered["asked"], answered["probability"], answered["count"]) == (
        "valkey is what",
        0.99,
        1,
    )
    assert answered["asked_at"] == pytest.approx(setup.clock())
    assert (await client.post("/cache/purge", json={"model": "other"})).json()["purged"] == 0
    kept = (await client.get(f"/cache/entries/{entry}")).json()
    assert (kept["hits"], kept["answered"]) == (1, [])


@pytest.mark.parametrize("selector", [{"all": True}, {"model": "m"}])
async def test_a_purge_leaves_no_pair(
    client: httpx.AsyncClient, setup: Setup, selector: dict[str, Any]
) -> None:
    await ask(client, setup, "valkey what")
    await ask(client, setup, "valkey is what")
    assert len(await reviewed(client)) == 1
    await client.post("/cache/purge", json=selector)
    assert await reviewed(client) == []


async def test_what_is_explained_is_no_pair(client: httpx.AsyncClient, setup: Setup) -> None:
    await ask(client, setup, "valkey what")
    body = {"model": "m", "messages": [{"role": "user", "content": "valkey is what"}]}
    asked = {"request": body, "headers": {"authorization": f"Bearer {TOKEN}"}}
    assert (await client.post("/cache/explain", json=asked)).json()["outcome"] == "HIT"
    assert await reviewed(client) == []
