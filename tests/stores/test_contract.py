"""What every store does for requests, whatever its kind."""

from dataclasses import replace

import numpy as np
import pytest

from app.core.models import Counts
from app.core.ports import WholeStore
from tests.fakes import ManualClock
from tests.stores.every_store import EAST, embedding, entry, ids, towards


async def test_what_was_put_is_given_back(store: WholeStore, clock: ManualClock) -> None:
    stored = entry(clock)
    await store.put(stored, EAST)
    assert await store.get(stored.id) == stored
    (candidate,) = await store.nearest("p1", EAST, 4, 2.0)
    assert candidate.stored == stored
    assert candidate.distance == pytest.approx(0, abs=1e-6)


async def test_an_empty_store_gives_nothing(store: WholeStore) -> None:
    assert await store.get("p1-a") is None
    assert list(await store.nearest("p1", EAST, 4, 2.0)) == []
    assert await store.count() == Counts(0, 0)
    assert not await store.delete("p1-a")


async def test_neighbors_come_nearest_first_with_cosine_distances(
    store: WholeStore, clock: ManualClock
) -> None:
    for name, vector in {
        "opposite": towards(-1),
        "diagonal": towards(1, 1),
        "same": EAST,
        "unrelated": towards(0, 1),
    }.items():
        await store.put(entry(clock, name), vector)
    candidates = await store.nearest("p1", EAST, 10, 2.0)
    assert [n.stored.id for n in candidates] == [
        "p1-same",
        "p1-diagonal",
        "p1-unrelated",
        "p1-opposite",
    ]
    distances = [n.distance for n in candidates]
    assert distances == pytest.approx([0, 1 - 0.5**0.5, 1, 2], abs=1e-5)


async def test_what_has_answered_can_be_found_again(store: WholeStore, clock: ManualClock) -> None:
    await store.put(entry(clock), EAST)
    (candidate,) = await store.nearest("p1", EAST, 4, 0.5)
    store.use(candidate.stored.id)
    store.use("nothing has this key")
    assert [candidate] == [*await store.nearest("p1", EAST, 4, 0.5)]
    assert await store.get(candidate.stored.id) == candidate.stored


async def test_no_more_neighbors_come_than_asked_for(store: WholeStore, clock: ManualClock) -> None:
    for index in range(10):
        await store.put(entry(clock, str(index)), towards(1, 0.1 * index))
    candidates = await store.nearest("p1", EAST, 3, 2.0)
    assert [n.stored.id for n in candidates] == ["p1-0", "p1-1", "p1-2"]


async def test_neighbors_that_are_too_far_do_not_come(
    store: WholeStore, clock: ManualClock
) -> None:
    for name, vector in {"same": EAST, "diagonal": towards(1, 1), "far": towards(0, 1)}.items():
        await store.put(entry(clock, name), vector)
    for bound, expected in ((0.0001, ["p1-same"]), (0.5, ["p1-same", "p1-diagonal"])):
        assert [n.stored.id for n in await store.nearest("p1", EAST, 4, bound)] == expected


async def test_a_partition_never_shows_in_another(store: WholeStore, clock: ManualClock) -> None:
    await store.put(entry(clock, partition="p1"), EAST)
    await store.put(entry(clock, partition="p2"), EAST)
    for partition in ("p1", "p2"):
        (candidate,) = await store.nearest(partition, EAST, 4, 2.0)
        assert candidate.stored.key.partition == partition
    assert list(await store.nearest("p", EAST, 4, 2.0)) == []


async def test_an_entry_without_embedding_is_found_exactly_only(
    store: WholeStore, clock: ManualClock
) -> None:
    stored = entry(clock)
    await store.put(stored, None)
    assert await store.get(stored.id) == stored
    assert list(await store.nearest("p1", EAST, 4, 2.0)) == []


async def test_putting_again_replaces_answer_and_embedding(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put(entry(clock), EAST)
    newer = entry(clock, content=b'{"choices":["newer"]}')
    await store.put(newer, towards(0, 1))
    assert await store.get(newer.id) == newer
    (candidate,) = await store.nearest("p1", EAST, 4, 2.0)
    assert candidate.stored == newer
    assert candidate.distance == pytest.approx(1, abs=1e-5)
    assert await store.count() == Counts(1, 0)


async def test_putting_again_without_embedding_ends_the_match_by_meaning(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put(entry(clock), EAST)
    await store.put(entry(clock), None)
    assert list(await store.nearest("p1", EAST, 4, 2.0)) == []
    assert await store.get("p1-a") is not None


async def test_an_entry_is_gone_when_its_time_is_up(store: WholeStore, clock: ManualClock) -> None:
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
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put(entry(clock, freshness_lifetime=10.0), EAST)
    await store.put(entry(clock, freshness_lifetime=30.0), EAST)
    clock.advance(20)
    assert await store.get("p1-a") is not None


async def test_reading_does_not_prolong_life(store: WholeStore, clock: ManualClock) -> None:
    await store.put(entry(clock, freshness_lifetime=10.0), EAST)
    for _ in range(9):
        clock.advance(1)
        assert await store.get("p1-a") is not None
        assert await store.nearest("p1", EAST, 1, 2.0)
    clock.advance(1)
    assert await store.get("p1-a") is None


async def test_a_deleted_entry_is_gone(store: WholeStore, clock: ManualClock) -> None:
    await store.put(entry(clock, "a"), EAST)
    await store.put(entry(clock, "b"), towards(1, 1))
    assert await store.delete("p1-a")
    assert not await store.delete("p1-a")
    assert await store.get("p1-a") is None
    assert [n.stored.id for n in await store.nearest("p1", EAST, 4, 2.0)] == ["p1-b"]
    assert await store.count() == Counts(1, 0)


async def test_nothing_is_lost_among_many(store: WholeStore, clock: ManualClock) -> None:
    angles = np.linspace(0, np.pi, 60)
    for index, angle in enumerate(angles):
        await store.put(entry(clock, str(index)), towards(np.cos(angle), np.sin(angle)))
    for index in range(0, 60, 2):
        assert await store.delete(f"p1-{index}")
    for index in range(1, 60, 2):
        vector = towards(np.cos(angles[index]), np.sin(angles[index]))
        (candidate,) = await store.nearest("p1", vector, 1, 2.0)
        assert candidate.stored.id == f"p1-{index}"
    assert await store.count() == Counts(30, 0)


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


async def test_answers_are_counted_by_dialect_while_they_are_alive(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put(entry(clock, "a"), EAST)
    for name, seconds in (("b", 60.0), ("c", 60.0), ("d", 10.0)):
        await store.put(entry(clock, name, dialect="toy", freshness_lifetime=seconds), EAST)
    await store.put(entry(clock, "b", dialect="toy"), None)
    stored = await store.get("p1-b")
    assert stored is not None
    assert stored.dialect == "toy"
    await store.delete("p1-c")
    assert dict((await store.count()).by_dialect) == {"chat_completion": 1, "toy": 2}
    clock.advance(10)
    counts = await store.count()
    assert dict(counts.by_dialect) == {"chat_completion": 1, "toy": 1}
    assert counts.by_kind == {**counts.by_dialect, "embedding": 0}
    await store.purge()
    assert dict((await store.count()).by_dialect) == {}


async def test_an_embedding_is_gone_when_its_time_is_up(
    store: WholeStore, clock: ManualClock
) -> None:
    await store.put_embeddings([embedding(clock)])
    clock.advance(60)
    assert list(await store.get_embeddings(["e"])) == [None]
    assert await store.count() == Counts(0, 0)
