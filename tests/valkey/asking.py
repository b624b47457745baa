"""A client with short forms of commands, for the tests of the stand-in."""

import shlex
from typing import Any

import numpy as np
import pytest
from valkey.asyncio import Valkey

CREATE = (
    "FT.CREATE idx ON HASH PREFIX 1 cache: SCHEMA ns TAG ts NUMERIC"
    " embedding VECTOR HNSW 6 TYPE FLOAT32 DIM 8 DISTANCE_METRIC COSINE"
)
in_both_protocols = pytest.mark.parametrize("client", [2, 3], indirect=True)
DISTANCE = b"__embedding_score"


def vector(*coordinates: float) -> bytes:
    """Return eight coordinates as the module reads them."""
    return np.array([*coordinates, *[0.0] * (8 - len(coordinates))], "<f4").tobytes()


EAST = vector(1)
NEAR = vector(1, 0.1)
_VECTORS = {
    "<east>": EAST,
    "<near>": NEAR,
    "<four>": EAST[:16],
    "<seven>": vector(7),
    "<wide>": EAST * 192,
}


def words(line: str) -> list[str | bytes]:
    """Cut a line as a shell would; <east>, and so on, are vectors."""
    return [_VECTORS.get(word, word) for word in shlex.split(line)]


class Asking:
    """A client whose commands are lines of text."""

    def __init__(self, client: Valkey) -> None:
        self.valkey: Any = client

    async def send(self, line: str) -> Any:
        return await self.valkey.execute_command(*words(line))

    async def put(self, name: str, embedding: bytes = EAST, **fields: str) -> None:
        """Write a hash that the index covers."""
        await self.valkey.hset(f"cache:{name}", mapping={**fields, "embedding": embedding})

    async def nearest(self, most: int, options: str = "", *, filter_: str = "*") -> Any:
        """Search for the hashes nearest to <east>."""
        query = shlex.quote(f"{filter_}=>[KNN {most} @embedding $q]")
        return await self.send(f"FT.SEARCH idx {query} {options} PARAMS 2 q <east> DIALECT 2")

    async def names(self, most: int, *, filter_: str = "*") -> list[str]:
        """List the keys nearest to <east>, including expired ones."""
        _, *keys = await self.nearest(most, "NOCONTENT", filter_=filter_)
        return [key.decode().removeprefix("cache:") for key in keys]

    async def info(self, name: str) -> Any:
        """Return one value of FT.INFO."""
        flat = await self.send("FT.INFO idx")
        return dict(zip(flat[::2], flat[1::2], strict=True))[name.encode()]

    async def vector_info(self, name: str) -> Any:
        """Return one value of FT.INFO about the vectors."""
        (attribute,) = (a for a in await self.info("attributes") if b"VECTOR" in a)
        flat = attribute[attribute.index(b"index") + 1]
        return dict(zip(flat[::2], flat[1::2], strict=True))[name.encode()]

    async def memory(self, name: str) -> int:
        """Return one value of `INFO search`."""
        return int((await self.valkey.info("search"))[f"search_{name}"])
