"""A Valkey and the stores of some proxies on it.

On the stand-in, they log in as the user with the permissions in docs/valkey.md. No command may be
refused to that user.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from valkey.asyncio import Valkey

from app.core.models import CacheKey, Embedding, EmbeddingModel, StoredResponse
from app.stores.seal import Seal
from app.stores.valkey.keys import Keys
from app.stores.valkey.search import IndexOptions
from app.stores.valkey.store import ValkeyStore
from app.stores.valkey.url import address_of
from tests.valkey.cluster import Cluster, valkey_cluster
from tests.valkey.server import StandIn, ValkeySearch, valkey_search

PAGE = (Path(__file__).parent.parent.parent / "docs" / "valkey.md").read_text()
RIGHTS, CLUSTER_RIGHTS = re.findall(r"^ACL SETUSER (reprise [r+].+)$", PAGE, re.MULTILINE)
_USER = "reprise"

MODEL = EmbeddingModel("test", 4)
KEYS = Keys.of("test", 4)


class Fleet:
    """One server, a client to inspect it, and as many stores as a test asks for."""

    def __init__(self, server: ValkeySearch, stack: AsyncExitStack) -> None:
        self.server = server
        self.url = server.url
        self.by_hand: Any = Valkey.from_url(server.url)
        self._stack = stack

    async def store(
        self,
        model: EmbeddingModel = MODEL,
        *,
        seconds: float = 5.0,
        url: str | None = None,
        seal: Seal | None = None,
        **options: Any,
    ) -> ValkeyStore:
        address = address_of(url or self.url)
        store = ValkeyStore(address, model, IndexOptions(**options), seconds, time.time, seal)
        return await self._stack.enter_async_context(aclosing(store))

    def may_be_harmed(self) -> None:
        """Skip the test unless the server is a stand-in."""
        assert self.server.switches

    async def send(self, line: str) -> Any:
        return await self.by_hand.execute_command(*line.split())


@asynccontextmanager
async def fleet_on(version: str = "1.2.1", **config: Any) -> AsyncIterator[Fleet]:
    async with valkey_search(version, **config) as server, AsyncExitStack() as stack:
        fleet = Fleet(server, stack)
        stack.push_async_callback(fleet.by_hand.aclose)
        if isinstance(server, StandIn):
            fleet.url = await as_in_readme(server)
        yield fleet
        if isinstance(server, StandIn):
            assert await server.denied(_USER) == []


async def as_in_readme(server: StandIn) -> str:
    """Make the user whose rights docs/valkey.md gives, and return the server's URL for it."""
    await server.add_user(*RIGHTS.split())
    return as_user(server.url)


def as_user(url: str) -> str:
    """Return the URL for the user whose rights docs/valkey.md gives."""
    return url.replace("//", f"//{_USER}:secret@")


@asynccontextmanager
async def cluster_in_readme() -> AsyncIterator[Cluster]:
    """Yield a cluster with the user of docs/valkey.md; it must not refuse that user any command."""
    async with valkey_cluster() as cluster:
        await cluster.add_user(*RIGHTS.split(), *CLUSTER_RIGHTS.split()[1:])
        yield cluster
        assert await cluster.denied(_USER) == []


def entry(name: str, **changes: Any) -> StoredResponse:
    fields: dict[str, Any] = {
        "key": CacheKey("p1", name, f"What is {name}?"),
        "model": "gpt-test",
        "content": f'{{"name":"{name}"}}'.encode(),
        "stored_at": time.time(),
        "freshness_lifetime": 600.0,
    }
    return StoredResponse(**{**fields, **changes})


def towards(*coordinates: float) -> Embedding:
    vector = np.array([*coordinates, *[0.0] * (4 - len(coordinates))], np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


EAST = towards(1)


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 5.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not await holds():
            await asyncio.sleep(0.002)


async def names(store: ValkeyStore, vector: Embedding = EAST) -> list[str]:
    return [n.stored.id for n in await store.nearest("p1", vector, 4, 2.0)]
