"""The shared store on a cluster with nodes that fail."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from app.core.errors import Declined, DependencyFailed
from app.core.models import Counts
from app.stores.valkey.keys import EPOCH
from app.stores.valkey.search import IndexOptions
from app.stores.valkey.store import ValkeyStore
from app.stores.valkey.url import address_of
from tests.stores.cluster_fleet import Fleet, fill, fleet_on_cluster, in_both_modes, served
from tests.stores.valkey_fleet import EAST, KEYS, MODEL, names, until
from tests.valkey.server import stand_in


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with fleet_on_cluster() as fleet:
        yield fleet


@in_both_modes
@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_shard_that_is_away_costs_the_timeout_once_and_the_others_serve_on(
    fleet: Fleet, how: str, coordinated: bool, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.cluster.switch_coordinator(on=coordinated)
    await fleet.cluster.set_node_timeout(60_000)  # so that nobody takes its place
    store = await fleet.store(seconds=1.0)
    await fill(store, 40)
    assert len(await store.nearest("p1", EAST, 40, 2.0)) == 40
    primary, _ = await fleet.other_shard()
    lost = set(await fleet.names_on(primary, 40))
    kept = {str(i) for i in range(40)} - lost
    if how == "kill":
        await fleet.cluster.kill(primary)
    else:
        fleet.cluster.stop(primary)
    seconds = []
    for name in [*lost, *kept]:
        begin = time.perf_counter()
        assert await served(store, name) is (name in kept)
        seconds.append(time.perf_counter() - begin)
    # Once, and at most once in half a second after that.
    assert sum(each > 0.3 for each in seconds) <= 1 + sum(seconds) / 0.5
    assert max(seconds) < 1.0
    found = await store.nearest("p1", EAST, 40, 2.0)
    assert {n.stored.id for n in found} == kept
    with pytest.raises((Declined, DependencyFailed)):
        await store.count()
    (line,) = [r for r in caplog.records if "does not answer" in r.message]
    assert f"127.0.0.1:{primary}" in line.message
    if how == "kill":
        await fleet.cluster.restart(primary)  # empty
    else:
        fleet.cluster.resume(primary)
        lost_name = next(iter(lost))
        await until(lambda: served(store, lost_name))


async def test_while_the_epoch_is_away_nothing_is_served_and_nothing_can_be_purged(
    fleet: Fleet,
) -> None:
    await fleet.cluster.set_node_timeout(60_000)
    store = await fleet.store(seconds=0.5)
    await fill(store, 9)
    assert await served(store, "1")
    owner = await fleet.cluster.primary_of(EPOCH)
    fleet.cluster.stop(owner)
    for index in range(9):
        assert not await served(store, str(index))
    with pytest.raises((Declined, DependencyFailed)):
        await store.purge()
    fleet.cluster.resume(owner)
    await until(lambda: served(store, "1"))


async def test_what_a_shard_that_is_away_has_is_purged_all_the_same(fleet: Fleet) -> None:
    await fleet.cluster.set_node_timeout(60_000)
    store, other = await fleet.store(seconds=0.5), await fleet.store()
    await fill(store)
    primary, _ = await fleet.other_shard(KEYS.generations)
    (name, *_) = await fleet.names_on(primary, 30)
    fleet.cluster.stop(primary)
    await store.purge()
    fleet.cluster.resume(primary)

    async def may_be_shared() -> bool:
        try:
            return await store.count() == Counts(0, 0)
        except (Declined, DependencyFailed):
            return False

    await until(may_be_shared)
    for proxy in (store, other):
        assert await proxy.get(name) is None
        assert await names(proxy) == []


async def test_after_a_primary_died_its_replica_serves_what_it_had(fleet: Fleet) -> None:
    store = await fleet.store(seconds=0.5)
    await fill(store)
    for primary, _ in await fleet.cluster.shards():
        await fleet.cluster.send(primary, "PING")
    await fleet.cluster.settle()
    owner = await fleet.cluster.primary_of(EPOCH)
    await fleet.cluster.kill(owner)

    async def are_found() -> bool:
        try:
            return len(await store.nearest("p1", EAST, 30, 2.0)) == 30
        except (Declined, DependencyFailed):
            return False

    await until(are_found, 20.0)
    assert {(await store.get(str(i))) is not None for i in range(30)} == {True}


async def test_a_replica_that_hangs_is_passed_over(fleet: Fleet) -> None:
    store = await fleet.store("?reads=replicas", seconds=1.0)
    await fill(store)
    primary, replica = await fleet.other_shard()
    (name, *_) = await fleet.names_on(primary)
    await fleet.cluster.settle()
    assert await served(store, name)
    fleet.cluster.stop(replica)
    assert not await served(store, name)
    begin = time.perf_counter()
    assert await served(store, name)
    assert time.perf_counter() - begin < 0.5


async def test_a_server_that_is_no_cluster_is_said_to_be_none() -> None:
    async with stand_in() as server:
        address = address_of(server.url.replace("valkey://", "valkey+cluster://"))
        async with aclosing(ValkeyStore(address, MODEL, IndexOptions(), 1.0, time.time)) as store:
            with pytest.raises(DependencyFailed, match="cluster support disabled"):
                await store.get("a")


async def test_a_cluster_that_nobody_answers_for_is_an_error_in_time(fleet: Fleet) -> None:
    await fleet.cluster.set_node_timeout(60_000)
    seed = int(fleet.cluster.url.rpartition(":")[2])
    fleet.cluster.stop(seed)
    store = await fleet.store(seconds=0.3)
    begin = time.perf_counter()
    with pytest.raises(DependencyFailed, match="no node reports"):
        await store.get("a")
    assert time.perf_counter() - begin < 1.0
    fleet.cluster.resume(seed)

    async def is_there() -> bool:
        try:
            return await store.get("a") is None
        except (Declined, DependencyFailed):
            return False

    await until(is_there)
