"""Memory in the stand-in: what indexes use, what they never free, and the limit."""

import numpy as np
import pytest
from valkey.asyncio import Valkey
from valkey.exceptions import ResponseError

from tests.valkey.asking import CREATE, Asking
from tests.valkey.server import stand_in

FULL = "command not allowed when used memory > 'maxmemory'"
WIDE = CREATE.replace("DIM 8", "DIM 1536")
SEARCH = "FT.SEARCH idx '*=>[KNN 1 @embedding $q]' PARAMS 2 q <wide>"


async def fill(client: Asking, hashes: int) -> int:
    """Write hashes under different keys. Return how many of them were refused."""
    rng, refused = np.random.default_rng(0), 0
    for start in range(0, hashes, 100):
        async with client.valkey.pipeline(transaction=False) as pipeline:
            for index in range(start, start + 100):
                embedding = rng.standard_normal(1536).astype("<f4").tobytes()
                pipeline.hset(f"cache:{index}", "embedding", embedding)
            replies = await pipeline.execute(raise_on_error=False)
        refused += sum(isinstance(reply, ResponseError) for reply in replies)
    return refused


async def test_under_eviction_tombstones_crowd_out_all_that_lives() -> None:
    async with (
        stand_in(maxmemory="12mb", maxmemory_policy="allkeys-lru") as server,
        Valkey.from_url(server.url) as valkey,
    ):
        client = Asking(valkey)
        await client.send(WIDE)
        assert await fill(client, 3_000) > 100
        assert await client.send("DBSIZE") == 0
        with pytest.raises(ResponseError, match=FULL):
            await client.send(SEARCH)
        await client.send("FT.DROPINDEX idx")
        assert await fill(client, 100) == 0


async def test_under_eviction_a_flat_index_lives_on() -> None:
    async with (
        stand_in(maxmemory="12mb", maxmemory_policy="allkeys-lru") as server,
        Valkey.from_url(server.url) as valkey,
    ):
        client = Asking(valkey)
        await client.send(WIDE.replace("HNSW", "FLAT"))
        assert await fill(client, 3_000) == 0
        assert await client.send("DBSIZE") > 300
        assert (await client.send(SEARCH))[0] == 1


async def test_without_eviction_searches_are_refused_too_until_something_goes() -> None:
    async with (
        stand_in(maxmemory="12mb", maxmemory_policy="noeviction") as server,
        Valkey.from_url(server.url) as valkey,
    ):
        client = Asking(valkey)
        await client.send(WIDE)
        assert await fill(client, 2_000) > 100
        await client.send("CONFIG SET maxmemory 11mb")
        for line in (SEARCH, WIDE.replace("idx", "other")):
            with pytest.raises(ResponseError, match=FULL):
                await client.send(line)
        assert await client.send("FT._LIST") == [b"idx"]
        await client.send(f"DEL {' '.join(f'cache:{index}' for index in range(400))}")
        assert (await client.send(SEARCH))[0] == 1
