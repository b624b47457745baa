"""Every store, empty, for the tests that all stores must pass.

A store is added by a line in STORES: a context manager that yields an empty store for at least a
hundred entries. It gets a clock that the test moves, and a folder for files.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from app.core.models import CacheKey, Embedding, EmbeddingModel, StoredEmbedding, StoredResponse
from app.core.ports import WholeStore
from app.core.selectors import EVERYTHING, Selector
from app.core.tags import Tagging
from app.stores.memory.store import MemoryStore
from app.stores.sqlite.store import SqliteStore
from app.stores.valkey.search import IndexOptions
from app.stores.valkey.store import ValkeyStore
from app.stores.valkey.url import address_of
from tests.fakes import ManualClock
from tests.stores.valkey_fleet import as_user, cluster_in_readme, fleet_on
from tests.valkey.cluster import any_cluster

DIMENSIONS = 4
MODEL = EmbeddingModel("test", DIMENSIONS)


def ignore(_kind: str, _reason: str) -> None:
    """Do nothing when an entry is evicted."""


@asynccontextmanager
async def memory_store(clock: ManualClock, _folder: Path) -> AsyncIterator[WholeStore]:
    async with aclosing(MemoryStore(100, clock, ignore)) as store:
        yield store


@asynccontextmanager
async def sqlite_store(clock: ManualClock, folder: Path) -> AsyncIterator[WholeStore]:
    async with aclosing(SqliteStore(folder / "cache.db", MODEL, 100, clock, ignore)) as store:
        yield store


@asynccontextmanager
async def valkey_store(clock: ManualClock, _folder: Path) -> AsyncIterator[WholeStore]:
    async with (
        fleet_on() as fleet,
        aclosing(ValkeyStore(address_of(fleet.url), MODEL, IndexOptions(), 5.0, clock)) as store,
    ):
        yield store


@asynccontextmanager
async def cluster_store(clock: ManualClock, _folder: Path) -> AsyncIterator[WholeStore]:
    async with (
        any_cluster() as url,
        aclosing(ValkeyStore(address_of(url), MODEL, IndexOptions(), 5.0, clock)) as store,
    ):
        yield store


@asynccontextmanager
async def coordinated_store(clock: ManualClock, _folder: Path) -> AsyncIterator[WholeStore]:
    async with cluster_in_readme() as cluster:
        cluster.switch_coordinator(on=True)
        address = address_of(as_user(cluster.url))
        async with aclosing(ValkeyStore(address, MODEL, IndexOptions(), 5.0, clock)) as store:
            yield store


STORES: dict[str, Callable[[ManualClock, Path], AbstractAsyncContextManager[WholeStore]]] = {
    "memory": memory_store,
    "sqlite": sqlite_store,
    "valkey": valkey_store,
    "valkey-cluster": cluster_store,
    "valkey-cluster-coordinated": coordinated_store,
}


def entry(
    clock: ManualClock, name: str = "a", partition: str = "p1", **changes: Any
) -> StoredResponse:
    fields: dict[str, Any] = {
        "key": CacheKey(partition, f"{partition}-{name}", f"What is {name}? ✓"),
        "model": "gpt-test",
        "content": f'{{"choices":[],"name":"{name} ✓"}}'.encode(),
        "stored_at": clock.now,
        "freshness_lifetime": 60.0,
        "parts": "caller=0123 body.model=4567",
    }
    return StoredResponse(**{**fields, **changes})


def towards(*coordinates: float) -> Embedding:
    vector = np.array([*coordinates, *[0.0] * (DIMENSIONS - len(coordinates))], np.float32)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


EAST = towards(1)


def labelled(namespace: str, *tags: str) -> Tagging:
    return Tagging(namespace, frozenset(tags))


async def ids(store: WholeStore, limit: int, selector: Selector = EVERYTHING) -> list[str]:
    """Return the ids of the entries of a store, read page by page."""
    found, cursor = [], ""
    while True:
        page = await store.scan(cursor, limit, selector)
        found += [stored.id for stored in page.entries]
        if not (cursor := page.cursor):
            return found


def embedding(clock: ManualClock, digest: str = "e", caller: str = "") -> StoredEmbedding:
    return StoredEmbedding(digest, "m", bytes(range(8)), 4, clock.now, 60.0, caller=caller)
