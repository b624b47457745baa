"""What every store does, whatever it is made of.

A store joins by a line in STORES: a context in which there is an empty one, with room for at least
a hundred entries, under a clock that the test moves; there is a folder for what it writes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.interfaces import Store, WholeStore
from app.labels import Labels
from app.models import (
    CacheKey,
    Counts,
    Embedding,
    EmbeddingModel,
    Kind,
    StoredEmbedding,
    StoredResponse,
)
from app.selectors import EVERYTHING, Near, Selector
from app.standing import Standing
from app.stores.memory import MemoryStore
from app.stores.sqlite import SqliteStore
from app.stores.valkey import ValkeyStore
from app.stores.valkey_search import IndexOptions
from app.stores.valkey_url import address_of
from tests.fakes import ManualClock
from tests.stores.valkey_fleet import as_user, cluster_in_readme, fleet_on
from tests.valkey.cluster import any_cluster

DIMENSIONS = 4
MODEL = EmbeddingModel("test", DIMENSIONS)


def ignore(_kind: Kind, _reason: str) -> None:
    """Take note of an eviction, or not."""


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


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=STORES)
async def store(
    request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[WholeStore]:
    async with STORES[request.param](clock, tmp_path) as store:
        yield store


def entry(
    clock: ManualClock, name: str = "a", partition: str = "p1", **changes: Any
) -> StoredResponse:
    fields: dict[str, Any] = {
        "key": CacheKey(partition, f"{partition}-{name}", f"What is {name}? ✓"),
        "model": "gpt-test",
        "completion": f'{{"choices":[],"name":"{name} ✓"}}'.encode(),
        "stored_at": clock.now,
        "freshness_lifetime": 60.0,
        "parts": "caller=0123 body.model=4567",
    }
    return StoredResponse(**{**fields, **changes})


def towards(*coordinates: float) -> Embedding:
    vector = np.array([*coordinates, *[0.0] * (DIMENSIONS - len(coordinates))], np.float32)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


EAST = towards(1)


async def test_what_was_put_is_given_back(store: Store, clock: ManualClock) -> None:
    stored = entry(clock)
    await store.put(stored, EAST)
    assert await store.get(stored.id) == stored
    (neighbor,) = await store.nearest("p1", EAST, 4, 2.0)
    assert neighbor.stored == stored
    assert neighbor.distance == pytest.approx(0, abs=1e-6)


async def test_an_empty_store_gives_nothing(store: Store) -> None:
    assert await store.get("p1-a") is None
    assert list(await store.nearest("p1", EAST, 4, 2.0)) == []
    assert await store.count() == Counts(0, 0)
    assert not await store.delete("p1-a")


async def test_neighbors_come_nearest_first_with_cosine_distances(
    store: Store, clock: ManualClock
) -> None:
    for name, vector in {
        "opposite": towards(-1),
        "diagonal": towards(1, 1),
        "same": EAST,
        "unrelated": towards(0, 1),
    }.items():
        await store.put(entry(clock, name), vector)
    neighbors = await store.nearest("p1", EAST, 10, 2.0)
    assert [n.stored.id for n in neighbors] == [
        "p1-same",
        "p1-diagonal",
        "p1-unrelated",
        "p1-opposite",
    ]
    distances = [n.distance for n in neighbors]
    assert distances == pytest.approx([0, 1 - 0.5**0.5, 1, 2], abs=1e-5)


async def test_who_peeks_sees_the_same(store: Store, clock: ManualClock) -> None:
    await store.put(entry(clock), EAST)
    (neighbor,) = await store.nearest("p1", EAST, 4, 0.5)
    assert [neighbor] == [*await store.nearest("p1", EAST, 4, 0.5, peek=True)]
    assert await store.get(neighbor.stored.id, peek=True) == neighbor.stored


async def test_no_more_neighbors_come_than_asked_for(store: Store, clock: ManualClock) -> None:
    for index in range(10):
        await store.put(entry(clock, str(index)), towards(1, 0.1 * index))
    neighbors = await store.nearest("p1", EAST, 3, 2.0)
    assert [n.stored.id for n in neighbors] == ["p1-0", "p1-1", "p1-2"]


async def test_neighbors_that_are_too_far_do_not_come(store: Store, clock: ManualClock) -> None:
    for name, vector in {"same": EAST, "diagonal": towards(1, 1), "far": towards(0, 1)}.items():
        await store.put(entry(clock, name), vector)
    for bound, expected in ((0.0001, ["p1-same"]), (0.5, ["p1-same", "p1-diagonal"])):
        assert [n.stored.id for n in await store.nearest("p1", EAST, 4, bound)] == expected


async def test_a_partition_never_shows_in_another(store: Store, clock: ManualClock) -> None:
    await store.put(entry(clock, partition="p1"), EAST)
    await store.put(entry(clock, partition="p2"), EAST)
    for partition in ("p1", "p2"):
        (neighbor,) = await store.nearest(partition, EAST, 4, 2.0)
        assert neighbor.stored.key.partition == partition
    assert list(await store.nearest("p", EAST, 4, 2.0)) == []


async def test_an_entry_without_embedding_is_found_exactly_only(
    store: Store, clock: ManualClock
) -> None:
    stored = entry(clock)
    await store.put(stored, None)
    assert await store.get(stored.id) == stored
    assert list(await store.nearest("p1", EAST, 4, 2.0)) == []


async def test_putting_again_replaces_answer_and_embedding(
    store: Store, clock: ManualClock
) -> None:
    await store.put(entry(clock), EAST)
    newer = entry(clock, completion=b'{"choices":["newer"]}')
    await store.put(newer, towards(0, 1))
    assert await store.get(newer.id) == newer
    (neighbor,) = await store.nearest("p1", EAST, 4, 2.0)
    assert neighbor.stored == newer
    assert neighbor.distance == pytest.approx(1, abs=1e-5)
    assert await store.count() == Counts(1, 0)


async def test_putting_again_without_embedding_ends_the_match_by_meaning(
    store: Store, clock: ManualClock
) -> None:
    await store.put(entry(clock), EAST)
    await store.put(entry(clock), None)
    assert list(await store.nearest("p1", EAST, 4, 2.0)) == []
    assert await store.get("p1-a") is not None


async def test_an_entry_is_gone_when_its_time_is_up(store: Store, clock: ManualClock) -> None:
    await store.put(entry(clock, "short", freshness_lifetime=10.0), EAST)
    await store.put(entry(clock, "long", freshness_lifetime=20.0), towards(1, 1))
    clock.advance(10)
    assert await store.get("p1-short") is None
    assert [n.stored.id for n in await store.nearest("p1", EAST, 1, 2.0)] == ["p1-long"]
    clock.advance(10)
    assert await store.get("p1-long") is None
    assert list(await store.nearest("p1", EAST, 4, 2.0)) == []
    assert await store.count() == Counts(0, 0)


async def test_a_stale_entry_is_kept_for_its_stale_lifetime(
    store: WholeStore, clock: ManualClock
) -> None:
    stored = entry(clock, freshness_lifetime=10.0, stale_lifetime=20.0)
    await store.put(stored, EAST)
    vector = replace(embedding(clock), freshness_lifetime=10.0, stale_lifetime=20.0)
    await store.put_embeddings([vector])
    for _ in range(2):
        clock.advance(14.5)
        assert await store.get("p1-a") == stored
        assert [n.stored for n in await store.nearest("p1", EAST, 4, 2.0)] == [stored]
        assert list(await store.get_embeddings(["e"])) == [vector]
        assert await ids(store, 10) == ["p1-a"]
        assert await store.count() == Counts(1, 1)
    clock.advance(1)
    assert await store.get("p1-a") is None
    assert list(await store.nearest("p1", EAST, 4, 2.0)) == []
    assert list(await store.get_embeddings(["e"])) == [None]
    assert await ids(store, 10) == []
    assert await store.count() == Counts(0, 0)


async def test_a_replaced_entry_lives_as_long_as_the_new_one(
    store: Store, clock: ManualClock
) -> None:
    await store.put(entry(clock, freshness_lifetime=10.0), EAST)
    await store.put(entry(clock, freshness_lifetime=30.0), EAST)
    clock.advance(20)
    assert await store.get("p1-a") is not None


async def test_reading_does_not_prolong_life(store: Store, clock: ManualClock) -> None:
    await store.put(entry(clock, freshness_lifetime=10.0), EAST)
    for _ in range(9):
        clock.advance(1)
        assert await store.get("p1-a") is not None
        assert await store.nearest("p1", EAST, 1, 2.0)
    clock.advance(1)
    assert await store.get("p1-a") is None


async def test_a_deleted_entry_is_gone(store: Store, clock: ManualClock) -> None:
    await store.put(entry(clock, "a"), EAST)
    await store.put(entry(clock, "b"), towards(1, 1))
    assert await store.delete("p1-a")
    assert not await store.delete("p1-a")
    assert await store.get("p1-a") is None
    assert [n.stored.id for n in await store.nearest("p1", EAST, 4, 2.0)] == ["p1-b"]
    assert await store.count() == Counts(1, 0)


async def test_nothing_is_lost_among_many(store: Store, clock: ManualClock) -> None:
    angles = np.linspace(0, np.pi, 60)
    for index, angle in enumerate(angles):
        await store.put(entry(clock, str(index)), towards(np.cos(angle), np.sin(angle)))
    for index in range(0, 60, 2):
        assert await store.delete(f"p1-{index}")
    for index in range(1, 60, 2):
        vector = towards(np.cos(angles[index]), np.sin(angles[index]))
        (neighbor,) = await store.nearest("p1", vector, 1, 2.0)
        assert neighbor.stored.id == f"p1-{index}"
    assert await store.count() == Counts(30, 0)


async def ids(store: Store, limit: int, selector: Selector = EVERYTHING) -> list[str]:
    """Page through a store."""
    found, cursor = [], ""
    while True:
        page = await store.scan(cursor, limit, selector)
        found += [stored.id for stored in page.entries]
        if not (cursor := page.cursor):
            return found


async def test_a_scan_shows_everything_once(store: Store, clock: ManualClock) -> None:
    for index in range(25):
        await store.put(entry(clock, str(index), partition=f"p{index % 3}"), EAST)
    await store.put(entry(clock, "exact"), None)
    await store.put(entry(clock, "expired", freshness_lifetime=1.0), EAST)
    clock.advance(1)
    expected = sorted([f"p{index % 3}-{index}" for index in range(25)] + ["p1-exact"])
    for limit in (1, 7, 26, 100):
        assert sorted(await ids(store, limit)) == expected


async def test_a_scan_of_an_empty_store_ends(store: Store) -> None:
    assert await ids(store, 10) == []


async def test_what_is_removed_during_a_scan_harms_nobody(store: Store, clock: ManualClock) -> None:
    for index in range(20):
        await store.put(entry(clock, str(index)), EAST)
    first = await store.scan("", 5)
    for stored in first.entries:
        await store.delete(stored.id)
    rest, cursor = [], first.cursor
    while cursor:
        page = await store.scan(cursor, 5)
        rest += [stored.id for stored in page.entries]
        cursor = page.cursor
    assert {stored.id for stored in first.entries} | set(rest) == {f"p1-{i}" for i in range(20)}


async def test_a_purge_removes_everything_and_tells_how_much(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put(entry(clock, "a"), EAST)
    await store.put(entry(clock, "b", partition="p2"), None)
    await store.put_embeddings([embedding(clock)])
    assert await store.purge() == 3
    assert await store.get("p1-a") is None
    assert list(await store.nearest("p1", EAST, 4, 2.0)) == []
    assert list(await store.get_embeddings(["e"])) == [None]
    assert await store.count() == Counts(0, 0)
    assert await ids(store, 10) == []
    assert await store.purge() == 0


async def test_what_was_asked_for_before_a_purge_is_not_stored_after_it(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.get("p1-a")  # now it knows its epoch
    before = store.epoch
    await store.purge()
    await store.put(entry(clock, epoch=before), EAST)
    await store.put_embeddings([replace(embedding(clock), epoch=before)])
    assert await store.get("p1-a") is None
    assert list(await store.nearest("p1", EAST, 4, 2.0)) == []
    assert list(await store.get_embeddings(["e"])) == [None]
    assert await ids(store, 10) == []
    assert store.epoch != before
    await store.put(entry(clock, epoch=store.epoch), EAST)
    assert await store.get("p1-a") is not None


def embedding(clock: ManualClock, digest: str = "e") -> StoredEmbedding:
    return StoredEmbedding(digest, "m", bytes(range(8)), 4, clock.now, 60.0)


async def test_embeddings_come_back_in_the_order_asked_for(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put_embeddings([embedding(clock, "e1"), embedding(clock, "e2")])
    found = await store.get_embeddings(["e2", "none", "e1", "e2"])
    assert list(found) == [
        embedding(clock, "e2"),
        None,
        embedding(clock, "e1"),
        embedding(clock, "e2"),
    ]
    assert await store.count() == Counts(0, 2)


async def test_embeddings_are_no_responses_and_the_reverse(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put_embeddings([embedding(clock, "p1-a")])
    assert await store.get("p1-a") is None
    assert await ids(store, 10) == []
    await store.put(entry(clock, "b"), EAST)
    assert list(await store.get_embeddings(["p1-b"])) == [None]
    assert await store.count() == Counts(1, 1)


async def test_an_embedding_is_gone_when_its_time_is_up(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put_embeddings([embedding(clock)])
    clock.advance(60)
    assert list(await store.get_embeddings(["e"])) == [None]
    assert await store.count() == Counts(0, 0)


def labelled(namespace: str, *tags: str) -> Labels:
    return Labels(namespace, frozenset(tags))


async def test_labels_come_back_however_they_are_written(store: Store, clock: ManualClock) -> None:
    odd = labelled("größe, *{1}", "a b", "user:{1}|*-\\", "@p:{x}=>[KNN]", "ü✓")
    await store.put(entry(clock, labels=odd), EAST)
    stored = await store.get("p1-a")
    assert stored is not None
    assert stored.labels == odd
    assert await ids(store, 10, Selector(tag="user:{1}|*-\\")) == ["p1-a"]
    assert await ids(store, 10, Selector(tag="user")) == []


SELECTED = [
    (EVERYTHING, {"a", "b", "c", "d"}),
    (Selector(tag="x"), {"a", "b"}),
    (Selector(tag="X"), set()),
    (Selector(model="rare"), {"b", "c"}),
    (Selector(namespace="n"), {"a", "c"}),
    (Selector(tag="x", model="rare"), {"b"}),
    (Selector(near=Near(EAST, 0.001)), {"a"}),
    (Selector(near=Near(EAST, 0.5)), {"a", "b"}),
    (Selector(near=Near(EAST, 2.0)), {"a", "b", "c"}),
    (Selector(namespace="n", near=Near(EAST, 2.0)), {"a", "c"}),
]


@pytest.mark.parametrize(("selector", "names"), SELECTED)
async def test_a_scan_shows_what_is_selected_in_whatever_partition(
    store: Store, clock: ManualClock, selector: Selector, names: set[str]
) -> None:
    for name, labels, model, vector in (
        ("a", labelled("n", "x", "y"), "m", EAST),
        ("b", labelled("", "x"), "rare", towards(1, 1)),
        ("c", labelled("n"), "rare", towards(-1)),
        ("d", labelled("", "y"), "m", None),
    ):
        stored = entry(clock, name, partition=f"p{name}", labels=labels, model=model)
        await store.put(stored, vector)
    for limit in (1, 10):
        assert sorted(await ids(store, limit, selector)) == sorted(f"p{n}-{n}" for n in names)


async def test_several_are_deleted_at_once(store: Store, clock: ManualClock) -> None:
    for name in ("a", "b", "c", "expired"):
        lifetime = 1.0 if name == "expired" else 60.0
        await store.put(entry(clock, name, freshness_lifetime=lifetime), EAST)
    clock.advance(1)
    assert await store.delete("p1-a", "p1-none", "p1-c", "p1-expired") == 2
    assert await ids(store, 10) == ["p1-b"]
    assert await store.delete() == 0


async def test_the_embeddings_of_entries_come_in_the_order_asked_for(
    store: Store, clock: ManualClock
) -> None:
    await store.put(entry(clock, "a"), EAST)
    await store.put(entry(clock, "b", partition="p2"), towards(0, 1))
    await store.put(entry(clock, "exact"), None)
    east, none, north, exact = await store.embeddings_of(["p1-a", "p1-none", "p2-b", "p1-exact"])
    assert (none, exact) == (None, None)
    assert east is not None
    assert north is not None
    assert east.tolist() == EAST.tolist()
    assert north.tolist() == towards(0, 1).tolist()
    assert list(await store.embeddings_of([])) == []


async def test_what_was_asked_for_before_a_new_turn_is_not_stored_and_what_is_stored_stays(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put(entry(clock, "old"), EAST)
    await store.put_embeddings([embedding(clock)])
    before = store.epoch
    await store.begin_turn()
    await store.put(entry(clock, "late", epoch=before), EAST)
    await store.put_embeddings([replace(embedding(clock, "late"), epoch=before)])
    await store.put(entry(clock, "new", epoch=store.epoch), towards(1, 1))
    assert sorted(await ids(store, 10)) == ["p1-new", "p1-old"]
    assert [n.stored.id for n in await store.nearest("p1", EAST, 4, 2.0)] == ["p1-old", "p1-new"]
    assert list(await store.get_embeddings(["late"])) == [None]
    assert list(await store.get_embeddings(["e"])) == [embedding(clock)]
    assert await store.count() == Counts(2, 1)


async def test_a_purge_removes_the_entries_of_every_turn(
    store: WholeStore, clock: ManualClock
) -> None:
    for name in ("a", "b", "c"):
        await store.put(entry(clock, name), EAST)
        await store.begin_turn()
    before = store.epoch
    assert await store.purge() == 3
    assert await ids(store, 10) == []
    await store.begin_turn()
    await store.put(entry(clock, "late", epoch=before), EAST)
    assert await store.get("p1-a") is None
    assert await store.get("p1-late") is None


async def test_a_wrong_answer_is_disputed_first_and_goes_then(
    store: Store, clock: ManualClock
) -> None:
    await store.put(entry(clock), EAST)
    clock.advance(10)
    assert await store.feedback("p1-a", correct=False) is Standing.EXACT_ONLY
    disputed = await store.get("p1-a")
    assert disputed == replace(entry(clock), stored_at=clock.now - 10, is_disputed=True)
    (neighbor,) = await store.nearest("p1", EAST, 4, 2.0)
    assert neighbor.stored.is_disputed
    assert await store.feedback("p1-a", correct=False) is Standing.REMOVED
    assert await store.get("p1-a") is None
    assert list(await store.nearest("p1", EAST, 4, 2.0)) == []
    for correct in (True, False):
        assert await store.feedback("p1-a", correct=correct) is None


async def test_an_answer_that_is_right_after_all_is_trusted_again(
    store: Store, clock: ManualClock
) -> None:
    await store.put(entry(clock), EAST)
    for _ in range(3):
        assert await store.feedback("p1-a", correct=False) is Standing.EXACT_ONLY
        assert await store.feedback("p1-a", correct=True) is Standing.TRUSTED
        assert await store.get("p1-a") == entry(clock)
        assert len(await store.nearest("p1", EAST, 4, 2.0)) == 1


async def test_two_who_call_an_answer_wrong_at_once_are_two(
    store: Store, clock: ManualClock
) -> None:
    await store.put(entry(clock), EAST)
    said = await asyncio.gather(*(store.feedback("p1-a", correct=False) for _ in range(3)))
    assert set(said) == {Standing.EXACT_ONLY, Standing.REMOVED, None}
    assert await store.get("p1-a") is None


async def test_judging_does_not_prolong_life_and_a_new_answer_is_trusted(
    store: Store, clock: ManualClock
) -> None:
    await store.put(entry(clock, "a"), EAST)
    await store.put(entry(clock, "b"), EAST)
    for name in ("a", "b"):
        await store.feedback(f"p1-{name}", correct=False)
    clock.advance(59)
    await store.put(entry(clock, "b"), EAST)
    clock.advance(1)
    assert await store.get("p1-a") is None
    newer = await store.get("p1-b")
    assert newer is not None
    assert not newer.is_disputed
