"""In every store, sums outlive the entries."""

from pathlib import Path

from app.core.ports import WholeStore
from app.stores.sqlite.store import SqliteStore
from tests.fakes import ManualClock
from tests.stores.every_store import EAST, MODEL, entry, ignore


async def test_what_is_added_is_summed_by_name(store: WholeStore) -> None:
    assert await store.totals() == {}
    await store.add_totals({"hits:m": 2, "saved:é:x y": 10**15})
    await store.add_totals({"hits:m": 3, "hits:": -1})
    assert await store.totals() == {"hits:m": 5, "saved:é:x y": 10**15, "hits:": -1}
    assert store.totals_last in {"process", "file", "fleet"}


async def test_a_purge_leaves_them(store: WholeStore, clock: ManualClock) -> None:
    await store.put(entry(clock), EAST)
    await store.add_totals({"hits:": 2})
    await store.advance_epoch()
    await store.purge()
    assert await store.totals() == {"hits:": 2}
    assert (await store.scan("", 10)).entries == []


async def test_a_file_keeps_them_and_so_does_one_of_an_earlier_version(tmp_path: Path) -> None:
    path, clock = tmp_path / "cache.db", ManualClock()
    for expected in ({}, {"hits:": 1}, {"hits:": 2}):
        store = SqliteStore(path, MODEL, 10, clock, ignore)
        assert await store.totals() == expected
        await store.add_totals({"hits:": 1})
        await store.aclose()
