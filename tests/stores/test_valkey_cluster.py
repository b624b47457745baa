"""The shared store on a cluster: cases that occur only with several shards."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from valkey.asyncio import Valkey
from valkey.crc import key_slot

from app.core.models import Counts, StoredEmbedding
from app.stores.valkey.keys import EPOCH
from app.stores.valkey.search import IndexOptions
from app.stores.valkey.store import ValkeyStore
from app.stores.valkey.url import address_of
from tests.stores.cluster_fleet import Fleet, fill, fleet_on_cluster, in_both_modes, served
from tests.stores.valkey_fleet import EAST, KEYS, MODEL, entry, names, until

INDEX = KEYS.index(1)


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with fleet_on_cluster() as fleet:
        yield fleet


@in_both_modes
async def test_entries_are_spread_and_the_nearest_of_all_shards_are_found(
    fleet: Fleet, coordinated: bool
) -> None:
    fleet.cluster.switch_coordinator(on=coordinated)
    store, other = await fleet.store(), await fleet.store()
    await fill(store)
    assert all(len(keys) > 3 for keys in await fleet.keys())
    found = await other.nearest("p1", EAST, 30, 2.0)
    assert [n.stored.id for n in found] == [str(i) for i in range(30)]
    assert [n.distance for n in found] == sorted(n.distance for n in found)
    assert {(await other.get(str(i))) is not None for i in range(30)} == {True}
    assert await other.count() == Counts(30, 0)


@in_both_modes
async def test_with_a_coordinator_one_node_is_asked_and_else_all_which_the_log_says_once(
    fleet: Fleet, coordinated: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    fleet.cluster.switch_coordinator(on=coordinated)
    store = await fleet.store()
    await fill(store, 3)

    async def is_known() -> bool:
        await names(store)
        return any("coordinator" in record.message for record in caplog.records)

    await until(is_known)
    before = sum(fleet.cluster.asked("FT.SEARCH"))
    for _ in range(6):
        assert await names(store) == ["0", "1", "2"]
    asked = sum(fleet.cluster.asked("FT.SEARCH")) - before
    assert asked == (6 if coordinated else 18)
    (line,) = [r for r in caplog.records if "coordinator" in r.message]
    assert line.levelno == (logging.INFO if coordinated else logging.WARNING)


async def test_what_is_known_of_the_layout_spares_redirections(fleet: Fleet) -> None:
    store = await fleet.store()
    await fill(store)
    for primary, _ in await fleet.cluster.shards():
        await fleet.cluster.send(primary, "CONFIG RESETSTAT")
    for index in range(30):
        await store.get(str(index))
    for primary, _ in await fleet.cluster.shards():
        assert b"MOVED" not in await fleet.cluster.send(primary, "INFO errorstats")


@in_both_modes
async def test_an_index_that_one_node_has_lost_is_made_again(
    fleet: Fleet, coordinated: bool
) -> None:
    fleet.cluster.switch_coordinator(on=coordinated)
    store = await fleet.store()
    await fill(store, 12)
    primary, _ = await fleet.other_shard()
    await fleet.cluster.drop(primary, INDEX)

    async def are_found() -> bool:
        return len(await store.nearest("p1", EAST, 12, 2.0)) == 12

    await until(are_found)
    assert INDEX in fleet.cluster.indexes(primary)


async def test_a_purge_is_seen_by_all_on_all_shards_and_a_failover_does_not_undo_it(
    fleet: Fleet,
) -> None:
    one, other = await fleet.store(), await fleet.store()
    await fill(one)
    embeddings = [StoredEmbedding(str(i), "m", b"1234", 4, 2e9, 60.0) for i in range(9)]
    await one.put_embeddings(embeddings)
    assert await other.purge() == 39
    assert [await one.get(str(i)) for i in range(30)] == [None] * 30
    assert await names(one) == []
    assert await one.get_embeddings([str(i) for i in range(9)]) == [None] * 9
    primary = await fleet.cluster.primary_of(EPOCH)
    (replica,) = [r for p, r in await fleet.cluster.shards() if p == primary]
    await fleet.cluster.send(replica, "READONLY")
    assert await fleet.cluster.send(replica, f"GET {EPOCH}") == other.epoch.encode()

    async def is_clear() -> bool:
        return not any(await fleet.keys())

    await until(is_clear)
    assert await one.count() == Counts(0, 0)


async def test_a_full_generation_is_retired_on_all_shards(fleet: Fleet) -> None:
    store = await fleet.store(max_inserts=100)
    await fill(store, 5)
    for number in (2, 3):
        await store._generations.open(number)
    owner = await fleet.cluster.primary_of(KEYS.generations)
    assert await store._generations.replace((1,), (3, 2, 1))
    assert owner == await fleet.cluster.primary_of(KEYS.generations)
    await store._upkeep._look_after()
    assert store._generations.numbers == (3,)
    assert await names(store) == ["0", "1", "2", "3"]
    assert {(await store.get(str(i))) is not None for i in range(5)} == {True}
    for primary, _ in await fleet.cluster.shards():
        assert fleet.cluster.indexes(primary) == [KEYS.index(3)]


async def test_a_key_is_found_wherever_its_slot_is_on_the_move(fleet: Fleet) -> None:
    """First half of a slot's keys are moved (ASK), later all; at last the slot is moved (MOVED)."""
    store, cluster = await fleet.store(), fleet.cluster
    await fill(store, 8)
    source = await cluster.primary_of(KEYS.entry(1, "3"))
    target = next(p for p, _ in await cluster.shards() if p != source)
    slot = key_slot(KEYS.entry(1, "3").encode())
    for name in "34":
        assert await store.get(name) is not None
    steps = cluster.migration(slot, target)
    assert await anext(steps) == 0
    assert await store.get("3") is not None
    assert await anext(steps) == 1
    assert await store.get("3") is not None
    assert "3" in [n.stored.id for n in await store.nearest("p1", EAST, 8, 2.0)]
    await store.put(newer := entry("3", content=b"{}"), EAST)
    assert await store.get("3") == newer
    assert await anext(steps) == 1  # the slot is the target's
    assert await store.get("3") == newer
    assert await names(await fleet.store()) == ["3", "0", "1", "2"]
    assert len(await store.nearest("p1", EAST, 8, 2.0)) == 8
    assert [moved async for moved in cluster.migration(slot, source)] == [0, 1, 1]


async def test_a_planned_failover_is_followed_at_once(fleet: Fleet) -> None:
    store, cluster = await fleet.store(), fleet.cluster
    await fill(store)
    primary, replica = await fleet.other_shard()
    (name, *_) = await fleet.names_on(primary)
    await cluster.send(replica, "CLUSTER FAILOVER")

    async def has_changed() -> bool:
        return await cluster.primary_of(KEYS.entry(1, name)) == replica

    await until(has_changed)
    assert await store.get(name) is not None
    await store.put(newer := entry(name, content=b"{}"), EAST)
    assert await store.get(name) == newer
    assert len(await store.nearest("p1", EAST, 30, 2.0)) == 30


async def test_entries_are_read_from_replicas_if_that_is_wanted_but_never_the_epoch(
    fleet: Fleet,
) -> None:
    store, other = await fleet.store("?reads=replicas"), await fleet.store()
    await fill(other)
    await fleet.cluster.settle()
    shards = await fleet.cluster.shards()
    for node in (node for shard in shards for node in shard):
        await fleet.cluster.send(node, "CONFIG RESETSTAT")
    for index in range(30):
        assert await store.get(str(index)) is not None
    assert len(await store.nearest("p1", EAST, 30, 2.0)) == 30
    for primary, replica in shards:
        assert b"cmdstat_hmget" not in await fleet.cluster.send(primary, "INFO commandstats")
        told = await fleet.cluster.send(replica, "INFO commandstats")
        assert b"cmdstat_hmget" in told
        assert b"cmdstat_get:" not in told
    for turn in range(10):
        await other.purge()
        assert not await served(store, str(turn))
        await other.put(entry(str(turn)), EAST)
    assert await store.delete("9")
    await store.put(entry("9"), EAST)


async def test_the_rights_that_readme_gives_are_enough(fleet: Fleet) -> None:
    rights = "~cache:* ~embedding:* +@read +@write +@connection +@search +eval +info"
    for node in (node for shard in await fleet.cluster.shards() for node in shard):
        async with Valkey(port=node) as client:
            told = f"ACL SETUSER u reset on >pw {rights} +cluster|slots"
            await client.execute_command(*told.split())
    url = fleet.cluster.url.replace("//", "//u:pw@")
    address = address_of(f"{url}?reads=replicas")
    async with aclosing(ValkeyStore(address, MODEL, IndexOptions(), 5.0, time.time)) as store:
        await fill(store)
        await store._upkeep._look_after()
        await fleet.cluster.settle()
        assert await names(store) == ["0", "1", "2", "3"]
        assert await store.get("7") is not None
        assert await store.delete("7")
        assert (await store.facts())["other_models"] == []
        assert await store.count() == Counts(29, 0)
        assert await store.purge() == 29
        assert await store.count() == Counts(0, 0)
