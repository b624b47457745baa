"""Measure the memory that entries take in a real Valkey.

    python -m benchmarks.entries valkey://127.0.0.1:6379/15 [entries]

Entries are stored as hashes and, if the server has valkey-search, also in an index. The database
must be empty, and is emptied at the end.
"""

import asyncio
import sys
import time
from contextlib import aclosing

import numpy as np

from app.core.models import CacheKey, EmbeddingModel, StoredResponse
from app.stores.valkey.client import Connections, checked
from app.stores.valkey.search import IndexOptions
from app.stores.valkey.store import ValkeyStore
from app.stores.valkey.url import Address, address_of

_DIMENSIONS = (384, 1536)
_ANSWERS = (700, 2400)  # bytes
_AT_ONCE = 16
_LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz     ", np.uint8)  # compresses like prose


async def measure(address: Address, dimensions: int, answer: int, entries: int) -> float:
    """Store entries, and return how many bytes of the server's memory each entry takes.

    `answer` is the size of each answer in bytes.
    """
    connections = Connections(address, 1, 30.0)
    model = EmbeddingModel("entries", dimensions)
    store = ValkeyStore(address, model, IndexOptions(max_inserts=10**9), 30.0, time.time)
    rng = np.random.default_rng(dimensions)
    async with aclosing(connections), aclosing(store):
        if checked((await connections.call(("DBSIZE",)))[0]):
            raise SystemExit("the database is not empty")
        await store.count()  # creates the index
        before = await _memory(connections)
        for start in range(0, entries, _AT_ONCE):
            puts = []
            for name in range(start, min(entries, start + _AT_ONCE)):
                vector = rng.standard_normal(dimensions)
                unit = np.asarray(vector / np.linalg.norm(vector), np.float32)
                puts.append(store.put(_response(name, answer, rng), unit))
            await asyncio.gather(*puts)
        after = await _memory(connections)
        await connections.call(("FLUSHDB",))
    return (after - before) / entries


def _response(name: int, size: int, rng: np.random.Generator) -> StoredResponse:
    text = rng.choice(_LETTERS, size).tobytes()
    key = CacheKey("0" * 64, f"{name:064x}", f"How do I change the address of order {name}?")
    return StoredResponse(key, "m", b'{"choices":"%b"}' % text, time.time(), 3600.0)


async def _memory(connections: Connections) -> int:
    (info,) = await connections.call(("INFO", "memory"))
    line = next(line for line in info.split() if line.startswith(b"used_memory:"))
    return int(line.partition(b":")[2])


def main() -> None:
    """Measure each number of dimensions with each size of an answer."""
    if not sys.argv[1:]:
        raise SystemExit(__doc__)
    address = address_of(sys.argv[1])
    entries = int(sys.argv[2]) if len(sys.argv) > 2 else 4_000  # noqa: PLR2004
    for dimensions in _DIMENSIONS:
        for answer in _ANSWERS:
            taken = asyncio.run(measure(address, dimensions, answer, entries))
            print(f"{dimensions:5d} dimensions, answers of {answer:5d} bytes: {taken:6.0f} bytes")


if __name__ == "__main__":
    main()
