"""A proxy on a socket, with each of the stores in turn."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.servers import Setup
from tests.valkey.server import stand_in

STORES = ("memory", "sqlite", "valkey")
TOKEN = "admin-token"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}


@asynccontextmanager
async def setup_with(store: str, folder: Path, **settings: Any) -> AsyncIterator[Setup]:
    """Yield a proxy, not yet running, with a store of the kind `store`."""
    settings = {"admin_token": TOKEN, "store_timeout": 5.0, **settings}
    if store == "valkey":
        async with stand_in() as server:
            yield _without_fake(Setup(store=server.url, **settings))
        return
    url = "memory://" if store == "memory" else f"sqlite:///{folder / 'cache.db'}"
    yield _without_fake(Setup(store=url, **settings))


@asynccontextmanager
async def client_of(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    """Run the proxy, and yield a client of its root with the operator's token."""
    async with setup.run() as url:
        base_url = url.removesuffix("/v1")
        async with httpx.AsyncClient(base_url=base_url, headers=ADMIN, timeout=10) as client:
            yield client


async def ask(
    client: httpx.AsyncClient, text: str, headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    """Ask for a chat completion. The operator's token is the caller's credential as well."""
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    response = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert response.is_success
    return response


async def outcome(client: httpx.AsyncClient, text: str, *tags: str, **fields: Any) -> str:
    """Ask with some tags, and return the value of `x-cache`."""
    headers = {"x-cache-tags": ", ".join(tags)} if tags else None
    value: str = (await ask(client, text, headers, **fields)).headers["x-cache"]
    return value


def _without_fake(setup: Setup) -> Setup:
    setup.store = None
    return setup
