"""Generations: how they are opened and retired, and that nothing is lost or comes back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from valkey.exceptions import OutOfMemoryError

from app.core.models import Counts, Embedding, EmbeddingModel
from app.stores.valkey.client import Command, Server
from app.stores.valkey.search import IndexOptions
from app.stores.valkey.store import ValkeyStore
from app.stores.valkey.url import address_of
from benchmarks.churn import churn
from tests.stores.valkey_fleet import (
    EAST,
    KEYS,
    Fleet,
    entry,
    fleet_on,
    names,
    towards,
    until,
)


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with fleet_on() as fleet:
        yield fleet


async def generations(fleet: Fleet) -> list[int]:
    told = await fleet.send(f"GET {KEYS.generations}")
    return [int(number) for number in told.split()]


async def indexes(fleet: Fleet) -> set[bytes]:
    return set(await fleet.send("FT._LIST"))


async def fill(store: ValkeyStore, count: int, prefix: str = "", seconds: float = 600.0) -> None:
    rng = np.random.default_rng(count)
    for start in range(0, count, 20):
        await asyncio.gather(
            *(
                store.put(
                    entry(f"{prefix}{index}", freshness_lifetime=seconds),
                    towards(*rng.normal(size=4)),
                )
                for index in range(start, min(count, start + 20))
            )
        )


async def put_aside(fleet: Fleet, list_: str) -> None:
    """Write the list of generations that are alive, as another proxy would."""
    await fleet.by_hand.set(KEYS.generations, list_)


class Interrupted:
    """The connections of a store. Once, `act` is called before a command is sent."""

    def __init__(self, connections: Server, before: str, act: Callable[[], Awaitable[Any]]):
        self._connections = connections
        self._before = before
        self._act: Callable[[], Awaitable[Any]] | None = act

    async def call(self, *commands: Command) -> list[Any]:
        if self._act is not None and any(self._before in map(str, c) for c in commands):
            act, self._act = self._act, None
            await act()
        return await self._connections.call(*commands)

    async def aclose(self) -> None:
        await self._connections.aclose()


async def two_generations(fleet: Fleet) -> ValkeyStore:
    """Store an entry in the oldest of three generations. The other two are empty."""
    store = await fleet.store(max_inserts=100)
    await store.put(entry("old"), EAST)
    for number in (2, 3):
        await store._generations.open(number)
    await put_aside(fleet, "3 2 1")
    await store.get("old")
    return store


async def test_a_full_generation_gets_a_successor_and_the_oldest_goes(fleet: Fleet) -> None:
    store, other = await fleet.store(max_inserts=100), await fleet.store(max_inserts=100)
    await store.put(entry("first"), EAST)
    for round_ in range(8):
        await fill(store if round_ % 2 else other, 120, "a", seconds=600)
    assert await store.get("first") is not None

    async def is_settled() -> bool:
        numbers = await generations(fleet)
        listed = {KEYS.index(number).encode() for number in numbers}
        return numbers[0] > 2 and len(numbers) <= 2 and await indexes(fleet) == listed

    await until(is_settled)
    for proxy in (store, other):
        assert await proxy.get("first") is not None
        assert (await proxy.nearest("p1", EAST, 1, 0.0001))[0].stored.id == "first"
    assert await store.count() == Counts(121, 0)
    facts = await store.facts()
    assert [g["number"] for g in facts["generations"]] == await generations(fleet)  # type: ignore[attr-defined]


async def test_what_lives_moves_on_with_what_is_left_of_its_life(fleet: Fleet) -> None:
    store = await two_generations(fleet)
    before = await fleet.by_hand.pttl(KEYS.entry(1, "old"))
    await store._upkeep._look_after()
    assert await generations(fleet) == [3]
    assert await fleet.by_hand.keys("cache:*:*:old") == [KEYS.entry(3, "old").encode()]
    assert before - 5_000 < await fleet.by_hand.pttl(KEYS.entry(3, "old")) <= before
    assert await names(store) == ["old"]
    assert await indexes(fleet) == {KEYS.index(3).encode()}
    assert await fleet.by_hand.hgetall(KEYS.inserts) == {b"3": b"1"}


async def test_what_was_stored_in_an_earlier_turn_moves_on(fleet: Fleet) -> None:
    store = await two_generations(fleet)
    await store.advance_epoch()
    await store._upkeep._look_after()
    assert await fleet.by_hand.keys("cache:*:*:old") == [KEYS.entry(3, "old").encode()]
    assert await names(store) == ["old"]


async def test_what_is_dead_does_not_move_on(fleet: Fleet) -> None:
    store = await two_generations(fleet)
    await fleet.by_hand.hset(KEYS.entry(1, "old"), "epoch", "another")
    await fleet.by_hand.hset(KEYS.entry(1, "odd"), "a", "b")
    await fleet.by_hand.set(KEYS.entry(1, "text"), "a")
    await store._upkeep._look_after()
    assert await fleet.by_hand.keys(KEYS.entries) == []


async def interrupt(
    store: ValkeyStore, before: str, act: Callable[[], Awaitable[Any]]
) -> ValkeyStore:
    """Run the upkeep of the generations. Call `act` before the first command that has `before`."""
    interrupted: Any = Interrupted(store._writes, before, act)
    store._upkeep._connections = store._generations._connections = interrupted
    await store._upkeep._look_after()
    return store


@pytest.mark.parametrize("before", ["HINCRBY", "UNLINK"])
async def test_what_is_deleted_while_it_moves_does_not_come_back(fleet: Fleet, before: str) -> None:
    store, other = await two_generations(fleet), await fleet.store()
    await interrupt(store, before, lambda: other.delete("old"))
    assert (await store.get("old"), await names(store)) == (None, [])
    assert await fleet.by_hand.keys(KEYS.entries) == []


@pytest.mark.parametrize("before", ["HINCRBY", "UNLINK"])
async def test_what_is_replaced_while_it_moves_stays_replaced(fleet: Fleet, before: str) -> None:
    store, other = await two_generations(fleet), await fleet.store()
    newer = entry("old", content=b'"newer"')
    await interrupt(store, before, lambda: other.put(newer, EAST))
    assert await store.get("old") == newer
    (candidate,) = await store.nearest("p1", EAST, 4, 2.0)
    assert candidate.stored == newer


@pytest.mark.parametrize("before", ["HINCRBY", "UNLINK"])
async def test_what_is_purged_while_it_moves_stays_purged(fleet: Fleet, before: str) -> None:
    store, other = await two_generations(fleet), await fleet.store()
    await interrupt(store, before, other.purge)
    for proxy in (store, other):
        assert (await proxy.get("old"), await names(proxy)) == (None, [])


@pytest.mark.parametrize("before", ["HINCRBY", "UNLINK", "FT.DROPINDEX", "HDEL"])
async def test_what_a_proxy_leaves_half_done_another_one_finishes(
    fleet: Fleet, before: str
) -> None:
    store, other = await two_generations(fleet), await fleet.store()

    async def die() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await interrupt(store, before, die)
    left = await generations(fleet)
    assert await names(other) == ["old"]
    await other._upkeep._look_after()
    assert await generations(fleet) == left  # the lease is another's
    await fleet.by_hand.delete(KEYS.lease)  # as it is when its time is up
    await other._upkeep._look_after()
    assert await generations(fleet) == [3]
    assert await indexes(fleet) == {KEYS.index(3).encode()}
    assert await names(other) == ["old"]


async def test_a_proxy_that_ends_between_index_and_list_harms_nobody(fleet: Fleet) -> None:
    store = await two_generations(fleet)
    await fleet.send(f"FT.DROPINDEX {KEYS.index(1)}")
    await names(store)

    async def is_found() -> bool:
        return await names(store) == ["old"]

    await until(is_found)
    await store._upkeep._look_after()
    assert await generations(fleet) == [3]
    assert await names(store) == ["old"]


async def test_only_one_proxy_tidies_up_at_a_time(fleet: Fleet) -> None:
    store, other = await two_generations(fleet), await fleet.store()
    await fleet.by_hand.set(KEYS.lease, "somebody", px=60_000)
    await asyncio.gather(store._upkeep._look_after(), other._upkeep._look_after())
    assert await generations(fleet) == [3, 2, 1]


async def test_an_index_that_no_list_names_is_dropped(fleet: Fleet) -> None:
    store = await fleet.store()
    await store.purge()
    await store.purge()
    await store._generations.open(1)
    await store._upkeep._look_after()
    assert await indexes(fleet) == {KEYS.index(3).encode()}


async def test_a_proxy_that_knows_of_an_older_generation_writes_into_the_newest(
    fleet: Fleet,
) -> None:
    store, other = await fleet.store(), await fleet.store()
    await store.get("a")
    await other.purge()
    await store.put(entry("a"), EAST)
    await store.put(entry("b"), EAST)
    assert await fleet.by_hand.keys("cache:*:*:b") == [KEYS.entry(2, "b").encode()]
    assert await names(other) == ["a", "b"]


async def test_churn_leaves_the_indexes_as_small_as_they_were(fleet: Fleet) -> None:
    """A short version of `benchmarks.churn`: 100 entries alive at a time, 250 per generation."""
    address = address_of(fleet.server.url)
    windows = await churn(address, 2_000, 100, IndexOptions(max_inserts=250))
    assert len(windows) == 20
    # Two generations, and what came in until they were looked after.
    assert max(window.vectors for window in windows) < 850
    assert {window.found for window in windows} == {1.0}


async def test_under_eviction_the_memory_of_vectors_comes_back() -> None:
    wide = EmbeddingModel("wide", 1536)
    async with fleet_on(maxmemory="12mb", maxmemory_policy="allkeys-lru") as fleet:
        store = await fleet.store(wide)
        rng = np.random.default_rng(2)

        async def put(name: str) -> Embedding:
            vector = rng.normal(size=1536).astype(np.float32)
            unit = np.asarray(vector / np.linalg.norm(vector), np.float32)
            with contextlib.suppress(OutOfMemoryError):  # eviction lags; the engine goes on too
                await store.put(entry(name), unit)
            return unit

        for index in range(2_000):
            await put(str(index))

        async def is_well() -> bool:
            # A generation may just have been dropped, so that entries have to come in again.
            name = f"more {rng.integers(1_000_000)}"
            vector = await put(name)
            try:
                near = await store.nearest("p1", vector, 2, 0.01)
            except OutOfMemoryError:  # a search is refused, too, until a generation is dropped
                return False
            is_found = name in [n.stored.id for n in near]
            return is_found and (await store.count()).answers > 200

        await until(is_well, 15)
        assert (await store.count()).answers > 200
        stats = await fleet.by_hand.info("stats")
        assert stats["evicted_keys"] > 500


async def test_without_memory_the_oldest_generation_goes_and_writing_goes_on() -> None:
    async with fleet_on(maxmemory="24mb", maxmemory_policy="noeviction") as fleet:
        store = await fleet.store(max_inserts=10_000)
        refused = 0
        for index in range(600):
            stored = entry(str(index), content=np.random.default_rng(index).bytes(60_000))
            try:
                await store.put(stored, EAST)
            except Exception as error:  # noqa: BLE001 - as the engine sees it
                assert type(error).__name__ == "OutOfMemoryError"  # noqa: PT017
                refused += 1
                await asyncio.sleep(0.005)
        assert 0 < refused < 300

        async def is_well() -> bool:
            try:
                await store.put(entry("last"), EAST)
            except Exception:  # noqa: BLE001 - not yet
                return False
            return "last" in [n.stored.id for n in await store.nearest("p1", EAST, 600, 2.0)]

        await until(is_well)
