"""What every store does for operators, whatever its kind."""

import asyncio
from dataclasses import replace

import pytest

from app.core.feedback import Standing
from app.core.models import Counts
from app.core.ports import WholeStore
from app.core.selectors import EVERYTHING, Near, Selector
from app.engine.resilient_store import amended, judged
from app.rules.sharing import askers_with
from tests.fakes import ManualClock
from tests.stores.every_store import EAST, embedding, entry, ids, labelled, towards


async def test_a_scan_shows_everything_once(store: WholeStore, clock: ManualClock) -> None:
    for index in range(25):
        await store.put(entry(clock, str(index), partition=f"p{index % 3}"), EAST)
    await store.put(entry(clock, "exact"), None)
    await store.put(entry(clock, "expired", freshness_lifetime=1.0), EAST)
    clock.advance(1)
    expected = sorted([f"p{index % 3}-{index}" for index in range(25)] + ["p1-exact"])
    for limit in (1, 7, 26, 100):
        assert sorted(await ids(store, limit)) == expected


async def test_a_scan_of_an_empty_store_ends(store: WholeStore) -> None:
    assert await ids(store, 10) == []


async def test_what_is_removed_during_a_scan_harms_nobody(
    store: WholeStore, clock: ManualClock
) -> None:
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


async def test_labels_come_back_however_they_are_written(
    store: WholeStore, clock: ManualClock
) -> None:
    odd = labelled("größe, *{1}", "a b", "user:{1}|*-\\", "@p:{x}=>[KNN]", "ü✓")
    await store.put(entry(clock, tagging=odd), EAST)
    stored = await store.get("p1-a")
    assert stored is not None
    assert stored.tagging == odd
    assert await ids(store, 10, Selector(tag="user:{1}|*-\\")) == ["p1-a"]
    assert await ids(store, 10, Selector(tag="user")) == []


async def test_an_answer_is_found_by_the_upstreams_id(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put(entry(clock, "a", upstream_id="resp_1"), EAST)
    await store.put(entry(clock, "b", upstream_id="resp_2"), None)
    await store.put(entry(clock, "c"), None)
    assert await ids(store, 10, Selector(upstream_ids=frozenset({"resp_2"}))) == ["p1-b"]


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
    store: WholeStore, clock: ManualClock, selector: Selector, names: set[str]
) -> None:
    for name, labels, model, vector in (
        ("a", labelled("n", "x", "y"), "m", EAST),
        ("b", labelled("", "x"), "rare", towards(1, 1)),
        ("c", labelled("n"), "rare", towards(-1)),
        ("d", labelled("", "y"), "m", None),
    ):
        stored = entry(clock, name, partition=f"p{name}", tagging=labels, model=model)
        await store.put(stored, vector)
    for limit in (1, 10):
        assert sorted(await ids(store, limit, selector)) == sorted(f"p{n}-{n}" for n in names)


async def test_several_are_deleted_at_once(store: WholeStore, clock: ManualClock) -> None:
    for name in ("a", "b", "c", "expired"):
        lifetime = 1.0 if name == "expired" else 60.0
        await store.put(entry(clock, name, freshness_lifetime=lifetime), EAST)
    clock.advance(1)
    assert await store.delete("p1-a", "p1-none", "p1-c", "p1-expired") == 2
    assert await ids(store, 10) == ["p1-b"]
    assert await store.delete() == 0


async def test_the_embeddings_of_entries_come_in_the_order_asked_for(
    store: WholeStore, clock: ManualClock
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
    await store.advance_epoch()
    await store.put(entry(clock, "late", epoch=before), EAST)
    await store.put_embeddings([replace(embedding(clock, "late"), epoch=before)])
    await store.put(entry(clock, "new", epoch=store.epoch), towards(1, 1))
    assert sorted(await ids(store, 10)) == ["p1-new", "p1-old"]
    assert [n.stored.id for n in await store.nearest("p1", EAST, 4, 2.0)] == ["p1-old", "p1-new"]
    assert list(await store.get_embeddings(["late"])) == [None]
    assert list(await store.get_embeddings(["e"])) == [embedding(clock)]
    assert await store.count() == Counts(2, 1)


async def test_only_a_purge_replaces_the_epoch(store: WholeStore, clock: ManualClock) -> None:
    await store.refresh_epoch()
    known = [store.epoch]
    await store.put(entry(clock), EAST)
    await store.delete("p1-a")
    for purge in (store.advance_epoch, store.purge):
        await store.refresh_epoch()
        assert store.epoch == known[-1]
        await purge()
        assert store.epoch not in known
        known.append(store.epoch)


async def test_a_purge_removes_the_entries_of_every_turn(
    store: WholeStore, clock: ManualClock
) -> None:
    for name in ("a", "b", "c"):
        await store.put(entry(clock, name), EAST)
        await store.advance_epoch()
    before = store.epoch
    assert await store.purge() == 3
    assert await ids(store, 10) == []
    await store.advance_epoch()
    await store.put(entry(clock, "late", epoch=before), EAST)
    assert await store.get("p1-a") is None
    assert await store.get("p1-late") is None


async def test_a_wrong_answer_is_disputed_first_and_goes_then(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put(entry(clock), EAST)
    clock.advance(10)
    assert await judged(store, "p1-a", correct=False) is Standing.EXACT_ONLY
    disputed = await store.get("p1-a")
    assert disputed == replace(entry(clock), stored_at=clock.now - 10, is_disputed=True)
    (candidate,) = await store.nearest("p1", EAST, 4, 2.0)
    assert candidate.stored.is_disputed
    assert await judged(store, "p1-a", correct=False) is Standing.REMOVED
    assert await store.get("p1-a") is None
    assert list(await store.nearest("p1", EAST, 4, 2.0)) == []
    for correct in (True, False):
        assert await judged(store, "p1-a", correct=correct) is None


async def test_an_answer_that_is_right_after_all_is_trusted_again(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put(entry(clock), EAST)
    for _ in range(3):
        assert await judged(store, "p1-a", correct=False) is Standing.EXACT_ONLY
        assert await judged(store, "p1-a", correct=True) is Standing.TRUSTED
        assert await store.get("p1-a") == entry(clock)
        assert len(await store.nearest("p1", EAST, 4, 2.0)) == 1


async def test_two_who_call_an_answer_wrong_at_once_are_two(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put(entry(clock), EAST)
    said = await asyncio.gather(*(judged(store, "p1-a", correct=False) for _ in range(3)))
    assert set(said) == {Standing.EXACT_ONLY, Standing.REMOVED, None}
    assert await store.get("p1-a") is None


async def test_judging_does_not_prolong_life_and_a_new_answer_is_trusted(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put(entry(clock, "a"), EAST)
    await store.put(entry(clock, "b"), EAST)
    for name in ("a", "b"):
        await judged(store, f"p1-{name}", correct=False)
    clock.advance(59)
    await store.put(entry(clock, "b"), EAST)
    clock.advance(1)
    assert await store.get("p1-a") is None
    newer = await store.get("p1-b")
    assert newer is not None
    assert not newer.is_disputed


async def test_what_was_stored_for_a_caller_is_found_and_removed(
    store: WholeStore, clock: ManualClock
) -> None:
    for name, caller in (("a", "ann"), ("b", "ann bob"), ("c", "bob"), ("d", ""), ("f", "anna")):
        await store.put(entry(clock, name, caller=caller), EAST)
        await store.put_embeddings([embedding(clock, name, caller)])
    assert sorted(await ids(store, 2, Selector(caller="ann"))) == ["p1-a", "p1-b"]
    assert (await store.get("p1-b")) == entry(clock, "b", caller="ann bob")
    found, cursor = await store.scan_embeddings("", 2, "ann")
    digests = [*found]
    while cursor:
        found, cursor = await store.scan_embeddings(cursor, 2, "ann")
        digests += found
    assert sorted(digests) == ["a", "b"]
    assert await store.delete_embeddings(*digests, "none") == 2
    left = await store.get_embeddings(["a", "b", "c", "d", "f"])
    assert [e is not None for e in left] == [False, False, True, True, True]
    assert left[2] == embedding(clock, "c", "bob")


async def test_those_who_ask_at_once_are_all_counted_and_the_rest_stays(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put(entry(clock), EAST)

    async def count(asker: str) -> bool:
        return await amended(
            store, "p1-a", lambda now: replace(now, askers=askers_with(now, asker, 3))
        )

    assert await asyncio.gather(*map(count, "abca")) == [True] * 4
    assert await amended(store, "p1-a", lambda now: replace(now, is_pinned=True))
    assert await judged(store, "p1-a", correct=False) is Standing.EXACT_ONLY
    expected = entry(clock, askers=frozenset("abc"), is_pinned=True, is_disputed=True)
    assert await store.get("p1-a") == expected
    assert [near.stored for near in await store.nearest("p1", EAST, 4, 2.0)] == [expected]
    assert await amended(store, "p1-a", lambda now: replace(now, is_pinned=False))
    assert await amended(store, "p1-none", lambda now: now) is False


async def test_what_has_taken_an_entrys_place_is_not_amended(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put(entry(clock), EAST)
    read = await store.get("p1-a")
    assert read is not None
    clock.advance(1)
    await store.put(newer := entry(clock), EAST)
    assert await store.amend(read, replace(read, is_pinned=True)) is False
    assert await store.get("p1-a") == newer
