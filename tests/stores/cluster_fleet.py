"""A cluster and the stores of some proxies on it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest

from app.core.errors import Declined, DependencyFailed
from app.stores.valkey.keys import EPOCH
from app.stores.valkey.search import IndexOptions
from app.stores.valkey.store import ValkeyStore
from app.stores.valkey.url import address_of
from tests.stores.valkey_fleet import KEYS, MODEL, entry, towards
from tests.valkey.cluster import Cluster, valkey_cluster

in_both_modes = pytest.mark.parametrize("coordinated", [False, True])


class Fleet:
    """A cluster, and as many stores as a test asks for."""

    def __init__(self, cluster: Cluster, stack: AsyncExitStack) -> None:
        self.cluster = cluster
        self._stack = stack

    async def store(self, query: str = "", *, seconds: float = 5.0, **options: int) -> ValkeyStore:
        address = address_of(self.cluster.url + query)
        options_ = IndexOptions(**options)  # type: ignore[arg-type]
        store = ValkeyStore(address, MODEL, options_, seconds, time.time)
        return await self._stack.enter_async_context(aclosing(store))

    async def keys(self) -> list[set[str]]:
        """Return the ids of the entries on each primary."""
        return [
            {
                key.decode().rpartition(":")[2]
                for key in await self.cluster.send(primary, f"KEYS {KEYS.entries}")
            }
            for primary, _ in await self.cluster.shards()
        ]

    async def other_shard(self, key: str = EPOCH) -> tuple[int, int]:
        """Return the primary and the replica of a shard that has neither this key nor the epoch."""
        taken = {await self.cluster.primary_of(each) for each in (key, EPOCH)}
        return next(shard for shard in await self.cluster.shards() if shard[0] not in taken)

    async def names_on(self, primary: int, count: int = 60) -> list[str]:
        """Return ids of entries that would be on the shard of `primary`."""
        found = [str(number) for number in range(count)]
        return [n for n in found if await self.cluster.primary_of(KEYS.entry(1, n)) == primary]


@asynccontextmanager
async def fleet_on_cluster() -> AsyncIterator[Fleet]:
    async with valkey_cluster() as cluster, AsyncExitStack() as stack:
        yield Fleet(cluster, stack)


async def fill(store: ValkeyStore, count: int = 30) -> None:
    for start in range(0, count, 10):  # a few at once: an overloaded node would seem to hang
        numbers = range(start, min(count, start + 10))
        await asyncio.gather(
            *(store.put(entry(str(i)), towards(1, 0.01 * (i + 1))) for i in numbers)
        )


async def served(store: ValkeyStore, name: str) -> bool:
    try:
        return await store.get(name) is not None
    except (Declined, DependencyFailed):
        return False
