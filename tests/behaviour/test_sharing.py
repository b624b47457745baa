"""How callers who share all answers can affect each other, and how they cannot."""

import itertools
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.behaviour.every_store import ADMIN, STORES, setup_with
from tests.behaviour.test_tenants import TEXT, A, B, ask, client_of
from tests.fakes import completion
from tests.servers import Exchange, Setup


def shared(**settings: Any) -> Setup:
    return Setup(isolation="shared", **settings)


@pytest.mark.parametrize(
    "headers",
    [{"Cache-Control": "no-cache"}, {"Cache-Control": "max-age=0"}, {"x-cache-tags": "t"}],
)
async def test_nobody_can_ask_again_until_others_get_another_answer(
    headers: dict[str, str],
) -> None:
    setup = shared()
    numbers = itertools.count()

    async def roll(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.answer(completion(f"roll {next(numbers)}"))

    setup.upstream.handler = roll
    async with client_of(setup) as client:
        await ask(client, TEXT, A)
        setup.clock.advance(1)
        again = await ask(client, TEXT, B, **headers)
        other = await ask(client, TEXT, A)
    assert "roll 1" in again.text  # who asks for a new answer gets one
    assert "roll 0" in other.text
    assert other.headers["x-cache"] == "HIT"


async def test_nobody_can_keep_an_answer_for_others_longer_than_usual() -> None:
    for isolation, longest in (("shared", 100), ("credential", 2_592_000)):
        setup = Setup(isolation=isolation, ttl=100)
        async with client_of(setup) as client:
            await ask(client, TEXT, A, **{"x-cache-ttl": "2592000"})
            hit = await ask(client, TEXT, A)
        assert f"ttl={longest};" in hit.headers["cache-status"]


ONLY_STORED = {"Cache-Control": "only-if-cached"}
REWORDED = "valkey and what that is"
KEYS = ("one", "two", "three")


def keyed(store: str, folder: Path, **settings: Any) -> AbstractAsyncContextManager[Setup]:
    return setup_with(
        store, folder, guards="off", isolation="shared", api_keys=",".join(KEYS), **settings
    )


async def outcome(client: httpx.AsyncClient, text: str, key: str, **headers: str) -> str:
    response = await ask(client, text, f"Bearer {key}", **headers)
    value: str = response.headers["x-cache"] if response.is_success else ""
    return value


@pytest.mark.parametrize("store", STORES)
async def test_an_entry_answers_others_by_meaning_once_two_credentials_have_asked_it(
    store: str, tmp_path: Path
) -> None:
    async with keyed(store, tmp_path) as setup, client_of(setup) as client:
        assert await outcome(client, TEXT, "one") == "MISS"
        for _ in range(2):  # who asks the same again waits for what is being written
            assert await outcome(client, TEXT, "one") == "HIT"
        assert await outcome(client, REWORDED, "one") == "HIT"  # his own
        assert await outcome(client, REWORDED, "three", **ONLY_STORED) == ""
        for _ in range(2):
            assert await outcome(client, TEXT, "two") == "HIT"  # exact repeats are shared at once
        assert await outcome(client, REWORDED, "three", **ONLY_STORED) == "HIT"


async def test_nobody_is_many_by_making_credentials_up(tmp_path: Path) -> None:
    async with keyed("memory", tmp_path) as setup, client_of(setup) as client:
        await outcome(client, TEXT, "one")
        for number in range(3):
            made_up = {"api-key": f"made-up-{number}", "Cookie": f"a={number}"}
            assert await outcome(client, TEXT, "one", **made_up) == "HIT"
        assert await outcome(client, REWORDED, "two", **ONLY_STORED) == ""


@pytest.mark.parametrize("store", STORES)
async def test_what_is_pinned_answers_by_meaning_until_it_is_unpinned(
    store: str, tmp_path: Path
) -> None:
    async with keyed(store, tmp_path) as setup, client_of(setup) as client:
        for _ in range(2):
            await ask(client, TEXT, "Bearer one")
        root = str(client.base_url).removesuffix("/v1/")
        listed = await client.get(f"{root}/cache/entries", headers=ADMIN)
        (told,) = listed.json()["entries"]
        assert told["pinned"] is False
        for pinned, expected in ((True, "HIT"), (False, "")):
            body = {"id": told["id"], "pinned": pinned}
            response = await client.post(f"{root}/cache/pin", json=body, headers=ADMIN)
            assert response.json() == body
            assert await outcome(client, REWORDED, "two", **ONLY_STORED) == expected
        missing = await client.post(f"{root}/cache/pin", json={"id": "0" * 64}, headers=ADMIN)
        assert missing.status_code == 404
        wrong = await client.post(f"{root}/cache/pin", json={"id": 1}, headers=ADMIN)
        assert wrong.status_code == 400


async def test_with_a_share_of_one_everything_answers_by_meaning_at_once(tmp_path: Path) -> None:
    async with keyed("memory", tmp_path, share_after=1) as setup, client_of(setup) as client:
        for _ in range(2):
            await outcome(client, TEXT, "one")
        assert await outcome(client, REWORDED, "two", **ONLY_STORED) == "HIT"
