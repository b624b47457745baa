"""The stand-in against what the real module was seen to answer."""

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from valkey.asyncio import Valkey
from valkey.exceptions import ResponseError

from tests.valkey.server import StandIn, stand_in

CREATE = (
    "FT.CREATE idx ON HASH PREFIX 1 cache: SCHEMA ns TAG"
    " embedding VECTOR HNSW 6 TYPE FLOAT32 DIM 8 DISTANCE_METRIC COSINE"
)


def vector(*coordinates: float) -> bytes:
    return np.array([*coordinates, *[0.0] * (8 - len(coordinates))], "<f4").tobytes()


EAST = vector(1)
NEAR = vector(1, 0.1)


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with stand_in() as server:
        server.switches.backfill_seconds = 0
        yield server


@pytest.fixture(params=[2, 3])
async def client(server: StandIn, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with Valkey.from_url(server.url, protocol=request.param) as client:
        await client.execute_command(*CREATE.split())
        yield client


async def put(client: Any, key: str, embedding: bytes, **fields: str) -> None:
    await client.hset(key, mapping={**fields, "embedding": embedding})


async def nearest(client: Any, most: int, *options: Any, index: str = "idx") -> Any:
    query = f"*=>[KNN {most} @embedding $q]"
    words = ("FT.SEARCH", index, query, *options, "PARAMS", 2, "q", EAST, "DIALECT", 2)
    return await client.execute_command(*words)


async def test_a_written_hash_is_found_with_its_distance(client: Any) -> None:
    assert await nearest(client, 1) == [0]
    await put(client, "cache:b", NEAR, response="B")
    await put(client, "cache:a", EAST, response="A")
    assert await nearest(client, 2, "RETURN", 2, "response", "__embedding_score") == [
        2,
        b"cache:a",
        [b"response", b"A", b"__embedding_score", b"0"],
        b"cache:b",
        [b"response", b"B", b"__embedding_score", b"0.00496286153793"],
    ]


async def test_a_flush_takes_the_index_with_it(client: Any) -> None:
    await client.flushdb()
    with pytest.raises(ResponseError, match=r"^Index with name 'idx' not found in database 0$"):
        await nearest(client, 1)
