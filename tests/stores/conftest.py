from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.core.ports import WholeStore
from tests.fakes import ManualClock
from tests.stores.every_store import STORES


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=STORES)
async def store(
    request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[WholeStore]:
    async with STORES[request.param](clock, tmp_path) as store:
        yield store
