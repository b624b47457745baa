"""A proxy on a socket, under load, whose store is a cluster: failures and moves of the nodes."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from valkey.crc import key_slot

from app.stores.valkey.keys import ALL_ENTRIES, EPOCH
from tests.behaviour.test_valkey import (
    STORE_TIMEOUT,
    TOKEN,
    Load,
    ask,
    client_of,
    degraded,
    until,
)
from tests.servers import Setup
from tests.valkey.cluster import Cluster, valkey_cluster


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with valkey_cluster() as cluster:
        yield cluster


@asynccontextmanager
async def load_on(
    cluster: Cluster, seconds: float = STORE_TIMEOUT
) -> AsyncIterator[tuple[httpx.AsyncClient, Load]]:
    """Run a proxy and sixteen clients. Yield when most requests are hits."""
    setup = Setup(store=cluster.url, store_timeout=seconds, admin_token=TOKEN)
    setup.store = None
    async with client_of(setup) as client, Load(client).running() as load:
        await load.gets("HIT")
        yield client, load


async def shards_by(cluster: Cluster, key: str) -> tuple[int, int]:
    """Return the primary that has a key, and the primary of another shard."""
    owner = await cluster.primary_of(key)
    return owner, next(primary for primary, _ in await cluster.shards() if primary != owner)


async def entries(cluster: Cluster, primary: int) -> list[bytes]:
    keys: list[bytes] = await cluster.send(primary, f"KEYS {ALL_ENTRIES}")
    return keys


@pytest.mark.parametrize(("coordinated", "has_epoch"), [(False, True), (True, False)])
async def test_a_primary_that_dies_under_load_costs_no_client_anything(
    cluster: Cluster, coordinated: bool, has_epoch: bool
) -> None:
    cluster.switch_coordinator(on=coordinated)
    async with load_on(cluster, 5.0) as (client, load):
        await cluster.settle()
        owner, other = await shards_by(cluster, EPOCH)
        dying = owner if has_epoch else other
        load.forget()
        await cluster.kill(dying)

        async def is_replaced() -> bool:
            return dying not in await cluster.primaries()

        await until(is_replaced, 20.0)
        during = Counter(load.outcomes)
        assert set(during) <= {"HIT", "MISS"}
        assert has_epoch or during["HIT"] > 0  # the other shards serve on
        promoted = time.perf_counter()
        await load.gets("HIT")
        assert time.perf_counter() - promoted < 5
        await until(lambda: all_hit(client), 20.0)

        async def is_well() -> bool:
            return await degraded(client) == []

        await until(is_well)


async def all_hit(client: httpx.AsyncClient) -> bool:
    """Whether every question of the load is a hit."""
    return {await ask(client, f"w{turn} what") for turn in range(20)} == {"HIT"}


@pytest.mark.parametrize("coordinated", [False, True])
async def test_a_shard_that_hangs_under_load_costs_the_timeout_and_the_others_serve_on(
    cluster: Cluster, coordinated: bool
) -> None:
    cluster.switch_coordinator(on=coordinated)
    await cluster.set_node_timeout(60_000)  # so that nobody takes its place
    async with load_on(cluster) as (client, load):
        usual, usually_slowest = load.median(), max(load.seconds)
        load.forget()
        _, hanging = await shards_by(cluster, EPOCH)
        assert await entries(cluster, hanging)
        cluster.stop(hanging)

        async def is_felt() -> bool:
            return Counter(load.outcomes)["MISS"] >= 16

        async def others_serve() -> bool:  # after the first burst, in which all wait for the node
            return Counter(load.outcomes)["HIT"] > len(load.outcomes) / 4

        await until(is_felt)
        await until(others_serve)
        assert max(load.seconds) < usually_slowest + 2 * STORE_TIMEOUT
        assert load.median() < 2 * usual + STORE_TIMEOUT / 2
        assert await degraded(client) == ["store"]
        cluster.resume(hanging)
        await load.gets("HIT")


@pytest.mark.parametrize("way", ["key by key", "at once"])
async def test_slots_that_move_under_load_cost_no_client_a_hit(cluster: Cluster, way: str) -> None:
    async with load_on(cluster, 5.0) as (client, load):
        await until(lambda: all_hit(client), 20.0)
        (source, _), (target, _), _ = await cluster.shards()
        keys = await entries(cluster, source)
        assert keys
        load.forget()
        if way == "at once":
            await cluster.migrate(0, 2000, target)
            await cluster.migrate(0, 2000, source)
        for key in keys[:4] if way == "key by key" else []:
            for place in (target, source):
                async for _ in cluster.migration(key_slot(key), place):
                    asked = len(load.outcomes)

                    async def were_asked(before: int = asked) -> bool:
                        return len(load.outcomes) >= before + 8

                    await until(were_asked)
        assert len(load.outcomes) > 16
        assert set(load.outcomes) == {"HIT"}
        assert sorted(await entries(cluster, source)) == sorted(keys)
