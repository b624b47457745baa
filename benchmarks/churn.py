"""Store and remove entries in a real Valkey for a long time: indexes must stay small and fast.

    python -m benchmarks.churn valkey://127.0.0.1:6379/15 [stores [alive]]

`stores` is the number of responses to store, and `alive` is how many of them exist at a time. The
database must be empty, and is emptied at the end.

An index never frees the memory of a removed vector. So with a single index, memory would grow and
storing would become slower.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np

from app.core.models import CacheKey, Embedding, EmbeddingModel, StoredResponse
from app.stores.valkey.client import Connections, checked
from app.stores.valkey.search import IndexOptions
from app.stores.valkey.store import ValkeyStore
from app.stores.valkey.url import Address, address_of

_MODEL = EmbeddingModel("churn", 384)
_AT_ONCE = 16
_PROBES = 50
_WIDEST = 1.5  # the factor by which the end may be worse than the start


@dataclass(frozen=True, slots=True)
class Window:
    """Figures that are measured each time `alive` more responses have been stored.

    `vectors`: the vectors in all indexes that exist, including the vectors of removed entries.
    `memory`: the server's memory in bytes.
    `found`: the share of the youngest responses that a search with their own embedding found.
    """

    stores_per_second: float
    vectors: int
    memory: int
    search_seconds: float
    found: float

    def __str__(self) -> str:
        return (
            f"{self.stores_per_second:8.0f} stores/s  {self.vectors:8d} vectors"
            f"  {self.memory / 1e6:8.1f} MB  search p50 {self.search_seconds * 1e3:6.2f} ms"
            f"  found {self.found:.2f}"
        )


async def churn(address: Address, stores: int, alive: int, options: IndexOptions) -> list[Window]:
    """Store `stores` responses, and return the figures over time.

    Old responses are removed, so that only `alive` responses exist at a time.
    """
    connections = Connections(address, 1, 5.0)
    store = ValkeyStore(address, _MODEL, options, 5.0, time.time)
    windows = []
    async with aclosing(connections), aclosing(store):
        if checked((await connections.call(("DBSIZE",)))[0]):
            raise SystemExit("the database is not empty")
        for start in range(0, stores, alive):
            names = range(start, min(stores, start + alive))
            seconds = await _replace(store, names, alive)
            windows.append(await _look(store, connections, names, len(names) / seconds))
        await connections.call(("FLUSHDB",))
    return windows


async def _replace(store: ValkeyStore, names: Sequence[int], alive: int) -> float:
    """Store responses and remove the oldest ones. Return the seconds that storing took."""
    seconds = 0.0
    for start in range(0, len(names), _AT_ONCE):
        batch = names[start : start + _AT_ONCE]
        entries = [(_response(name), _embedding(name)) for name in batch]
        begin = time.perf_counter()
        await asyncio.gather(*(store.put(*entry) for entry in entries))
        seconds += time.perf_counter() - begin
        await asyncio.gather(*(store.delete(str(name - alive)) for name in batch if name >= alive))
    return seconds


async def _look(
    store: ValkeyStore, connections: Connections, names: Sequence[int], pace: float
) -> Window:
    facts: Any = await store.facts()
    (info,) = await connections.call(("INFO", "memory"))
    memory = next(line for line in info.split() if line.startswith(b"used_memory:"))
    found, seconds = 0, []
    for name in names[-_PROBES:]:
        begin = time.perf_counter()
        near = await store.nearest("0a", _embedding(name), 1, 0.01)
        seconds.append(time.perf_counter() - begin)
        found += [candidate.stored.id for candidate in near] == [str(name)]
    return Window(
        stores_per_second=pace,
        vectors=sum(generation["inserts"] for generation in facts["generations"]),
        memory=int(memory.partition(b":")[2]),
        search_seconds=median(seconds),
        found=found / len(seconds),
    )


def _response(name: int) -> StoredResponse:
    completion = f'{{"choices": [], "name": "{name}"}}'.encode() * 10
    key = CacheKey("0a", str(name), f"What is {name}?")
    return StoredResponse(key, "m", completion, time.time(), 3600.0)


def _embedding(name: int) -> Embedding:
    direction = np.random.default_rng(name).standard_normal(_MODEL.dimensions)
    return np.asarray(direction / np.linalg.norm(direction), dtype=np.float32)


def main() -> None:
    """Run the measurement, print the figures, and fail if the end is much worse than the start."""
    if not sys.argv[1:]:
        raise SystemExit(__doc__)
    stores = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000  # noqa: PLR2004
    alive = int(sys.argv[3]) if len(sys.argv) > 3 else 4_000  # noqa: PLR2004
    options = IndexOptions()
    windows = asyncio.run(churn(address_of(sys.argv[1]), stores, alive, options))
    for window in windows:
        print(window)
    # The start is when an index was full once: before that, no index has been dropped.
    full = max(1, 2 * options.max_inserts // alive)
    first, last = windows[:full], windows[-full:]
    slower = fmean(w.stores_per_second for w in first) / fmean(w.stores_per_second for w in last)
    larger = max(w.vectors for w in last) / max(w.vectors for w in first)
    print(f"the end against the start: {slower:.2f} times slower, {larger:.2f} times the vectors")
    if max(slower, larger) > _WIDEST:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
