"""The life of documents and indexes in the stand-in: expiry, tombstones, flushes, restarts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from valkey.asyncio import Valkey
from valkey.exceptions import ResponseError

from tests.valkey.asking import CREATE, EAST, NEAR, Asking, vector
from tests.valkey.server import StandIn, stand_in

GONE = r"^Index with name 'idx' not found in database 0$"


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds that comes true by itself."""
    async with asyncio.timeout(5):
        while not await holds():
            await asyncio.sleep(0.002)


async def test_expired_documents_hide_live_ones(client: Asking) -> None:
    await client.put("a", response="A")
    await client.put("b", NEAR, response="B")
    await client.send("DEBUG SET-ACTIVE-EXPIRE 0")
    # Long enough for the stand-in to read that it will end: to read it later would remove it.
    await client.send("PEXPIRE cache:a 1500")

    async def nothing() -> bool:
        return bool(await client.nearest(1, "RETURN 1 response") == [0])

    await until(nothing)
    assert await client.names(1) == ["a"]
    assert await client.nearest(3, "RETURN 1 response") == [1, b"cache:b", [b"response", b"B"]]
    assert await client.info("num_docs") == 2
    assert await client.send("EXISTS cache:a") == 0
    assert await client.names(1) == ["b"]
    assert await client.info("num_docs") == 1


async def test_an_ordinary_expiry_ends_by_itself(client: Asking) -> None:
    await client.put("a")
    await client.put("b", NEAR)
    await client.send("PEXPIRE cache:a 20")

    async def next_is_found() -> bool:
        return await client.names(1) == ["b"]

    await until(next_is_found)
    assert await client.memory("index_reclaimable_memory") == 32


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("DEL cache:a", ["b"]),
        ("UNLINK cache:a", ["b"]),
        ("HDEL cache:a embedding", ["b"]),
        ("HSET cache:a embedding <four>", ["b"]),
        ("HSET cache:a embedding ''", ["b"]),
        ("HSET cache:a other x", ["a", "b"]),
        ("RENAME cache:a elsewhere:a", ["b"]),
        ("RENAME cache:a cache:z", ["z", "b"]),
        ("COPY cache:a cache:z", ["a", "z", "b"]),
        ("MOVE cache:a 1", ["b"]),
        ("SET cache:a string", ["a", "b"]),
        ("PEXPIREAT cache:a 1", ["b"]),
        ("EVAL \"return redis.call('DEL', KEYS[1])\" 1 cache:a", ["b"]),
        ("HSET cache:b embedding <east>", ["a", "b"]),
    ],
)
async def test_the_index_follows_the_hashes(client: Asking, line: str, expected: list[str]) -> None:
    await client.put("a")
    await client.put("b", NEAR)
    await client.send(line)
    assert await client.names(9) == expected


async def test_a_string_over_a_hash_leaves_a_hit_without_fields(client: Asking) -> None:
    await client.put("a", response="A")
    await client.send("SET cache:a string")
    assert await client.nearest(1) == [1, b"cache:a", [b"__embedding_score", b"0"]]
    await client.send("DEL cache:a")
    assert await client.nearest(1) == [0]


async def test_bad_vectors_are_counted_once_and_for_all(client: Asking) -> None:
    await client.put("good")
    await client.put("good", EAST[:16])
    await client.put("short", EAST[:16])
    await client.put("long", EAST * 2)
    await client.send("HSET cache:none response x")
    assert await client.info("num_docs") == 4
    assert await client.info("hash_indexing_failures") == b"2"
    await client.send("DEL cache:short cache:long")
    assert await client.info("hash_indexing_failures") == b"2"


async def test_vectors_that_are_gone_are_never_given_back(client: Asking) -> None:
    for name in map(str, range(30)):
        await client.put(name)
    await client.send(f"DEL {' '.join(f'cache:{n}' for n in range(10))}")
    await client.send("HDEL cache:10 embedding")
    for name in map(str, range(20, 30)):
        await client.put(name, NEAR)
    assert await client.vector_info("size") == b"19"
    assert await client.memory("index_reclaimable_memory") == 11 * 32
    used = await client.memory("used_memory_bytes")
    await client.put("new")
    assert await client.memory("used_memory_bytes") > used
    await client.send("FT.DROPINDEX idx")
    assert await client.memory("used_memory_bytes") == 0
    assert await client.send("EXISTS cache:new") == 1


async def test_room_grows_with_the_tombstones(client: Asking) -> None:
    for _ in range(3):
        async with client.valkey.pipeline(transaction=False) as pipeline:
            for index in range(3_500):
                pipeline.hset(f"cache:{index}", "embedding", NEAR)
            await pipeline.execute()
        assert await client.info("num_docs") == 3_500
        async with client.valkey.pipeline(transaction=False) as pipeline:
            for index in range(3_500):
                pipeline.delete(f"cache:{index}")
            await pipeline.execute()
    assert await client.info("num_docs") == 0
    assert await client.vector_info("capacity") == 20_480
    assert await client.memory("index_reclaimable_memory") == 10_500 * 32


async def test_a_flat_index_gives_back(client: Asking) -> None:
    await client.send("FT.DROPINDEX idx")
    await client.send(CREATE.replace("HNSW", "FLAT"))
    await client.put("a")
    await client.send("DEL cache:a")
    assert await client.memory("used_memory_bytes") == 0
    assert await client.vector_info("algorithm") == [b"name", b"FLAT", b"block_size", 1024]


@pytest.mark.parametrize(
    "line", ["FLUSHDB", "FLUSHALL", "FLUSHALL ASYNC", "EVAL \"return redis.call('FLUSHALL')\" 0"]
)
async def test_a_flush_takes_the_index_with_it(client: Asking, line: str) -> None:
    await client.put("a")
    await client.send(line)
    with pytest.raises(ResponseError, match=GONE):
        await client.nearest(1)
    await client.put("a")
    with pytest.raises(ResponseError, match=GONE):
        await client.nearest(1)
    assert await client.send("FT._LIST") == []
    await client.send(CREATE)
    assert await client.send("FT._LIST") == [b"idx"]


async def test_indexes_belong_to_a_database(server: StandIn, client: Asking) -> None:
    await client.put("a")
    async with Valkey.from_url(server.url.removesuffix("0") + "1") as other:
        elsewhere = Asking(other)
        with pytest.raises(ResponseError, match=r"^Index with name 'idx' not found in database 1$"):
            await elsewhere.nearest(1)
        await elsewhere.send(CREATE)
        await elsewhere.put("b")
        assert await elsewhere.names(9) == ["b"]
        await elsewhere.send("FLUSHDB")
        assert await elsewhere.send("FT._LIST") == []
    assert await client.names(9) == ["a"]


async def test_what_was_there_before_comes_in_by_and_by(server: StandIn, client: Asking) -> None:
    for index in range(10):
        await client.put(str(index), vector(1, 1 + index))
    await client.send("FT.DROPINDEX idx")
    server.switches.backfill_share = 0.5
    await client.send(CREATE)

    async def half_is_there() -> bool:
        return bool(await client.info("backfill_complete_percent") == b"0.500000")

    await until(half_is_there)
    assert await client.info("state") == b"backfill_in_progress"
    assert len(await client.names(10)) == 5
    await client.put("new")
    assert await client.names(1) == ["new"]
    server.switches.backfill_share = 1

    async def is_ready() -> bool:
        return bool(await client.info("state") == b"ready")

    await until(is_ready)
    assert len(await client.nearest(20, "NOCONTENT LIMIT 0 20")) == 12


async def test_even_an_empty_index_is_not_ready_at_once(server: StandIn, client: Asking) -> None:
    server.switches.backfill_seconds = 60
    await client.send("FT.CREATE other PREFIX 1 o: SCHEMA a TAG")
    assert b"backfill_in_progress" in await client.send("FT.INFO other")
    await client.send("FT.CREATE third PREFIX 1 t: SKIPINITIALSCAN SCHEMA a TAG")
    assert b"ready" in await client.send("FT.INFO third")


@pytest.fixture(params=["kill", "restart"])
def ending(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_restart_without_persistence_loses_everything(
    server: StandIn, client: Asking, ending: str
) -> None:
    await client.put("a")
    url = server.url
    if ending == "kill":
        await server.kill()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2][:-2]))
    await server.restart()
    assert server.url == url
    with pytest.raises(ResponseError, match=GONE):
        await client.nearest(1)


@pytest.fixture
async def persistent() -> AsyncIterator[StandIn]:
    async with stand_in(appendonly="yes", appendfsync="always") as server:
        yield server


async def test_with_persistence_index_and_hashes_survive(persistent: StandIn, ending: str) -> None:
    async with Valkey.from_url(persistent.url) as valkey:
        client = Asking(valkey)
        await client.send(CREATE)
        await client.put("a")
        if ending == "kill":
            await persistent.kill()
        await persistent.restart()
        assert await client.names(1) == ["a"]
        assert await client.info("state") == b"ready"
