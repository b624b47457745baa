"""A stand-in and a client of it, in both versions of the protocol."""

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


@pytest.fixture(params=[2, 3])
async def client(server: StandIn, request: pytest.FixtureRequest) -> AsyncIterator[Asking]:
    async with Valkey.from_url(server.url, protocol=request.param) as client:
        asking = Asking(client)
        await asking.send(CREATE)
        yield asking
