"""Sums are written to the store automatically, in the background."""

import asyncio

from app.core.metrics import Metrics
from app.engine.ledger import Ledger
from app.engine.resilient_store import ResilientStore
from tests.fakes import FakeStore, ManualClock


class Written:
    """A store whose first write fails. It signals the first write that succeeds."""

    def __init__(self) -> None:
        self.store = FakeStore(ManualClock())
        self.store.before_totals = self._enter
        self.calls = 0
        self.done = asyncio.Event()

    async def _enter(self) -> None:
        self.calls += 1
        if self.calls == 1:
            raise OSError
        self.done.set()


async def test_what_is_added_is_written_soon_and_again_where_that_failed() -> None:
    written, metrics = Written(), Metrics()
    ledger = Ledger(ResilientStore(written.store, metrics), metrics.tally, pause=0.001)
    for _ in range(3):
        metrics.tally.add("hits")
    async with asyncio.timeout(10):
        await written.done.wait()
    assert (await ledger.sums()).amounts == {"hits:": 3}
    assert written.calls == 2
    metrics.tally.add("hits")
    await ledger.aclose()
    assert await written.store.totals() == {"hits:": 4}
    assert metrics.tally.own == {"hits:": 4}
