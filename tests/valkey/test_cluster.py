"""The stand-in for a cluster behaves as the real module was observed to behave on a cluster."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from valkey.asyncio import Valkey
from valkey.asyncio.cluster import ValkeyCluster
from valkey.exceptions import ResponseError

from tests.valkey.asking import CREATE, EAST, vector, words
from tests.valkey.cluster import Cluster, valkey_cluster

SEARCH = (
    'FT.SEARCH idx "*=>[KNN 5 @embedding $q]" RETURN 1 __embedding_score'
    " PARAMS 2 q <east> DIALECT 2"
)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with valkey_cluster() as cluster:
        yield cluster


async def ask(port: int, line: str) -> Any:
    """Send a command to a node through its relay."""
    async with Valkey(port=port) as client:
        return await client.execute_command(*words(line))


async def fill(cluster: Cluster) -> None:
    async with ValkeyCluster.from_url(cluster.url.replace("+cluster", "")) as client:
        for number in range(9):
            await client.hset(  # type: ignore[misc]
                f"cache:{number}", mapping={"embedding": vector(1, 0.05 * number)}
            )


async def found(port: int, options: str = "") -> list[str]:
    reply = await ask(port, f"{SEARCH} {options}")
    return [key.decode().removeprefix("cache:") for key in reply[1::2]]


async def test_without_a_coordinator_a_node_has_its_own_indexes_and_finds_its_own_keys(
    cluster: Cluster,
) -> None:
    (first, replica), (second, _), (third, _) = await cluster.shards()
    assert await ask(first, CREATE) == b"OK"
    await cluster.settle()
    for port, names in ((first, [b"idx"]), (replica, [b"idx"]), (second, []), (third, [])):
        assert await ask(port, "FT._LIST") == names
    for port in (second, third):
        assert await ask(port, CREATE) == b"OK"
    await fill(cluster)
    each = [await found(port) for port in (first, second, third)]
    assert sorted(name for names in each for name in names) == [str(n) for n in range(9)]
    assert all(each)
    with pytest.raises(ResponseError, match="CLUSTER option is not valid in this configuration"):
        await ask(first, "FT.INFO idx CLUSTER")
    with pytest.raises(ResponseError, match="read only replica"):
        await ask(replica, CREATE)


async def test_with_a_coordinator_any_node_finds_the_nearest_of_all(cluster: Cluster) -> None:
    cluster.switch_coordinator(on=True)
    (first, _), (second, replica), _ = await cluster.shards()
    assert await ask(first, CREATE) == b"OK"
    with pytest.raises(ResponseError, match="already exists"):
        await ask(second, CREATE)
    assert await ask(replica, "FT._LIST") == [b"idx"]
    await fill(cluster)
    for port in (first, second):
        assert await found(port) == ["0", "1", "2", "3", "4"]
        assert set(await found(port, "LOCALONLY")) < {str(n) for n in range(9)}
    assert isinstance(await ask(first, "FT.INFO idx CLUSTER"), list)
    assert await ask(second, "FT.DROPINDEX idx") == b"OK"
    assert await ask(first, "FT._LIST") == []


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_with_a_coordinator_a_node_that_is_gone_keeps_all_from_searching(
    cluster: Cluster, how: str
) -> None:
    cluster.switch_coordinator(on=True)
    await cluster.set_node_timeout(60_000)
    (first, _), (second, _), _ = await cluster.shards()
    await ask(first, CREATE)
    if how == "kill":
        await cluster.kill(second)
    else:
        cluster.stop(second)
    begin = time.perf_counter()
    with pytest.raises(ResponseError, match="cancelled due to timeout"):
        await found(first, "TIMEOUT 200 ALLSHARDS")
    assert 0.2 <= time.perf_counter() - begin < 2
    assert await found(first, "LOCALONLY") == []


async def test_replicas_have_what_their_primaries_have(cluster: Cluster) -> None:
    for primary, _ in await cluster.shards():
        await ask(primary, CREATE)
    await fill(cluster)
    await cluster.settle()
    for primary, replica in await cluster.shards():
        assert await found(replica) == await found(primary) != []


@pytest.mark.parametrize("way", ["key by key", "at once"])
async def test_what_moves_to_another_node_is_found_there(cluster: Cluster, way: str) -> None:
    for primary, _ in await cluster.shards():
        await ask(primary, CREATE)
    (source, _), (target, _), _ = await cluster.shards()
    async with ValkeyCluster.from_url(cluster.url.replace("+cluster", "")) as client:
        await client.hset("cache:{06S}", mapping={"embedding": EAST})  # type: ignore[misc]
        slot = client.keyslot("cache:{06S}")
        assert await cluster.primary_of("cache:{06S}") == source
        assert (await found(source), await found(target)) == (["{06S}"], [])
        if way == "at once":
            await cluster.migrate(slot, slot, target)
        else:
            assert [moved async for moved in cluster.migration(slot, target)] == [0, 1, 1]
        assert (await found(source), await found(target)) == ([], ["{06S}"])
        await cluster.migrate(slot, slot, source)
