"""The shared store on a server that fails."""

import logging
from collections.abc import AsyncIterator, Awaitable

import pytest

from app.stores.valkey.generations import SearchUnavailable
from tests.stores.valkey_fleet import (
    EAST,
    KEYS,
    RIGHTS,
    Fleet,
    entry,
    fleet_on,
    names,
    until,
)

OURS = RIGHTS.split(maxsplit=4)[-1]


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with fleet_on() as fleet:
        yield fleet


async def test_a_server_that_is_not_there_yet_is_found_when_it_comes(fleet: Fleet) -> None:
    store = await fleet.store(seconds=0.5)
    await fleet.server.kill()
    for _ in range(3):
        with pytest.raises(Exception, match="Connect"):
            await store.get("a")
    await fleet.server.restart()

    async def is_there() -> bool:
        try:
            return await store.get("a") is None
        except Exception:  # noqa: BLE001 - not yet
            return False

    await until(is_there)
    await store.put(entry("a"), EAST)
    assert await names(store) == ["a"]


async def test_an_answer_that_was_asked_for_before_the_first_contact_is_not_kept(
    fleet: Fleet,
) -> None:
    store = await fleet.store()
    await store.put(entry("a", epoch=store.epoch), EAST)
    assert await store.get("a") is None


async def test_a_server_that_was_restarted_empty_is_set_up_again(fleet: Fleet) -> None:
    store = await fleet.store()
    await store.put(entry("a"), EAST)
    await fleet.server.restart()
    assert await store.get("a") is None
    await store.put(entry("b"), EAST)
    assert await names(store) == ["b"]


async def test_without_the_module_the_very_same_question_is_answered(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.server.switches.loaded = False
    store = await fleet.store()
    await store.put(stored := entry("a"), EAST)
    assert await store.get("a") == stored
    for _ in range(3):
        with pytest.raises(SearchUnavailable):
            await names(store)
    assert await store.delete("a")
    assert (await store.facts())["other_models"] == []
    errors = [r.message for r in caplog.records if r.levelno == logging.ERROR]
    (line,) = errors
    assert "valkey-search is not loaded" in line
    assert "valkey/valkey-bundle" in line
    await store.put(stored, EAST)
    fleet.server.switches.loaded = True

    async def is_found() -> bool:
        try:
            return await names(store) == ["a"]
        except SearchUnavailable:
            return False

    await until(is_found)


async def works(call: Awaitable[object]) -> bool:
    try:
        return await call != []
    except Exception:  # noqa: BLE001 - as the engine sees it
        return False


@pytest.mark.parametrize(
    ("rules", "reads", "writes", "searches"),
    [
        ("+@all ~cache:* ~embedding:*", True, True, True),
        (OURS, True, True, True),
        (f"{OURS} -ft._list -info", True, True, True),
        ("+@all -ft._list ~cache:* ~embedding:*", True, True, True),
        ("+@all -@search ~cache:* ~embedding:*", True, True, False),
        ("+@all -ft.create ~cache:* ~embedding:*", True, True, True),
        ("+@all -@write ~cache:* ~embedding:*", True, False, True),
        ("+@all -@read ~cache:*", False, False, False),
        ("+@all", False, False, False),
    ],
)
async def test_what_a_user_may_not_do_is_an_error_and_the_rest_goes_on(
    fleet: Fleet, rules: str, reads: bool, writes: bool, searches: bool
) -> None:
    fleet.may_be_harmed()
    await (await fleet.store()).put(stored := entry("a"), EAST)
    await fleet.send(f"ACL SETUSER u on >pw {rules}")
    store = await fleet.store(url=fleet.server.url.replace("//", "//u:pw@"))
    assert await works(store.get("a")) is reads
    assert await works(store.put(entry("b"), EAST)) is writes
    assert await works(store.nearest("p1", EAST, 1, 2.0)) is searches
    if reads:
        assert await store.get("a") == stored


async def test_a_replica_that_may_only_be_read_answers(fleet: Fleet) -> None:
    fleet.may_be_harmed()
    await (await fleet.store()).put(stored := entry("a"), EAST)
    await fleet.send("REPLICAOF 127.0.0.1 1")
    store = await fleet.store()
    assert (await store.get("a"), await names(store)) == (stored, ["a"])
    with pytest.raises(Exception, match="read only"):
        await store.put(entry("b"), EAST)
    await fleet.send("REPLICAOF NO ONE")
    await store.put(entry("b"), EAST)
    assert await names(store) == ["a", "b"]


async def test_with_no_memory_left_what_is_there_is_read(fleet: Fleet) -> None:
    fleet.may_be_harmed()
    store = await fleet.store()
    await store.put(stored := entry("a"), None)
    await fleet.send("CONFIG SET maxmemory 1")
    with pytest.raises(Exception, match="maxmemory"):
        await store.put(entry("b"), EAST)
    assert await (await fleet.store()).get("c") is None
    await fleet.send("CONFIG SET maxmemory 0")

    async def is_well() -> bool:
        await store.put(stored, EAST)
        return await names(store) == ["a"]

    await until(is_well)


async def test_a_loading_server_is_an_error_until_it_is_loaded(fleet: Fleet) -> None:
    store = await fleet.store()
    await store.put(stored := entry("a"), EAST)
    fleet.server.switches.refusal = "LOADING Valkey is loading the dataset in memory"
    with pytest.raises(Exception, match="loading"):
        await store.get("a")
    fleet.server.switches.refusal = ""
    assert await store.get("a") == stored
    assert KEYS.index(1).encode() in await fleet.send("FT._LIST")
