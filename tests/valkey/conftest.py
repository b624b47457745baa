"""A stand-in and a client of it."""

from collections.abc import AsyncIterator

import pytest
from valkey.asyncio import Valkey

from tests.valkey.asking import CREATE, Asking
from tests.valkey.server import StandIn, stand_in


@pytest.fixture
async def server() -> AsyncIterator[StandIn]:
    async with stand_in() as server:
        server.switches.backfill_seconds = 0
        yield server


@pytest.fixture
async def client(server: StandIn, request: pytest.FixtureRequest) -> AsyncIterator[Asking]:
    protocol = getattr(request, "param", 3)
    async with Valkey.from_url(server.url, protocol=protocol) as client:
        asking = Asking(client)
        await asking.send(CREATE)
        yield asking
