import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.models import Counts, Embedding, Kind, StoredResponse
from app.stores.memory import partition
from app.stores.memory.store import MemoryStore
from tests.fakes import ManualClock
from tests.stores.every_store import EAST, embedding, entry, towards


class Evictions(list[str]):
    def __call__(self, kind: str, reason: str) -> None:
        self.append(f"{kind} {reason}")


async def fill(store: MemoryStore, clock: ManualClock, names: str) -> None:
    for name in names:
        await store.put(entry(clock, name), EAST)


async def alive(store: MemoryStore, names: str) -> str:
    return "".join([name for name in names if await store.get(f"p1-{name}")])


async def test_the_least_recently_used_give_way() -> None:
    clock, evictions = ManualClock(), Evictions()
    store = MemoryStore(3, clock, evictions)
    await fill(store, clock, "abc")
    store.use("p1-a")
    await fill(store, clock, "d")
    assert await store.count() == Counts(3, 0)
    assert await alive(store, "abcd") == "acd"
    assert evictions == ["chat_completion lru"]


async def test_what_is_only_looked_up_gives_way_like_the_rest() -> None:
    clock = ManualClock()
    store = MemoryStore(3, clock, Evictions())
    await fill(store, clock, "abc")
    assert await store.get("p1-a") == entry(clock, "a")
    (near, *_) = await store.nearest("p1", EAST, 3, 1.0)
    assert near.stored == entry(clock, "a")
    await fill(store, clock, "d")
    assert await alive(store, "abcd") == "bcd"


async def test_what_leaves_by_itself_is_told_by_its_key() -> None:
    clock, left = ManualClock(), list[str]()
    store = MemoryStore(2, clock, Evictions(), lambda kind, digest: left.append(f"{kind} {digest}"))
    await fill(store, clock, "aab")
    await store.delete("p1-b")
    await fill(store, clock, "cd")
    assert left == ["chat_completion p1-a"]
    await store.put_embeddings([embedding(clock)])
    clock.advance(60)
    await store.get_embeddings([])
    assert left[1:] == ["embedding e"]


async def test_what_is_fresh_is_held_and_asking_does_not_count_as_using() -> None:
    clock = ManualClock()
    store = MemoryStore(2, clock, Evictions())
    await fill(store, clock, "ab")
    await store.put_embeddings([embedding(clock)])
    assert store.holds(Kind.ANSWER, "p1-a")
    assert store.holds(Kind.EMBEDDING, "e")
    assert not store.holds(Kind.ANSWER, "e")
    await fill(store, clock, "c")
    assert not store.holds(Kind.ANSWER, "p1-a")
    clock.advance(60)
    assert not store.holds(Kind.ANSWER, "p1-b")


async def test_the_neighbor_that_answered_counts_as_used_and_no_other() -> None:
    clock = ManualClock()
    store = MemoryStore(3, clock, Evictions())
    for name, vector in {"a": EAST, "b": towards(1, 1), "c": towards(0, 1)}.items():
        await store.put(entry(clock, name), vector)
    (nearest, *_) = await store.nearest("p1", EAST, 3, 2.0)
    store.use(nearest.stored.id)
    await store.put(entry(clock, "d"), EAST)
    await store.put(entry(clock, "e"), EAST)
    assert await alive(store, "abcde") == "ade"


async def test_a_neighbor_that_is_too_far_to_answer_does_not_count_as_used() -> None:
    clock = ManualClock()
    store = MemoryStore(2, clock, Evictions())
    await fill(store, clock, "ab")
    assert await store.nearest("p1", towards(0, 1), 4, 0.15) == []
    await fill(store, clock, "c")
    assert await alive(store, "abc") == "bc"


async def test_expired_entries_make_room_before_living_ones() -> None:
    clock, evictions = ManualClock(), Evictions()
    store = MemoryStore(2, clock, evictions)
    await store.put(entry(clock, "short", freshness_lifetime=1.0), EAST)
    await store.get("p1-short")
    await store.put(entry(clock, "long"), EAST)
    clock.advance(1)
    await store.put(entry(clock, "new"), EAST)
    assert await store.get("p1-long") is not None
    assert evictions == ["chat_completion expired"]


async def test_a_long_life_of_replacements_leaves_nothing_behind() -> None:
    clock = ManualClock()
    store = MemoryStore(10, clock, Evictions())
    for index in range(1000):
        await store.put(entry(clock, str(index % 20)), EAST)
    assert await store.count() == Counts(10, 0)
    assert sum(map(len, store._responses._due.values())) == 10
    (partition,) = store._partitions.values()
    assert len(partition) == 10
    assert sum(len(block.matrix) for block in partition._blocks) < 50


async def test_an_emptied_partition_is_dropped() -> None:
    clock = ManualClock()
    store = MemoryStore(10, clock, Evictions())
    await fill(store, clock, "ab")
    clock.advance(60)
    assert await store.get("p1-a") is None
    assert not store._partitions
    assert not store._responses._due


async def test_an_embedding_of_another_length_is_refused() -> None:
    clock = ManualClock()
    store = MemoryStore(10, clock, Evictions())
    await fill(store, clock, "a")
    with pytest.raises(ValueError, match=r"shape"):
        await store.nearest("p1", np.ones(7, np.float32), 1, 2.0)


async def test_a_search_in_a_thread_survives_changes_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partition, "_ROWS_WORTH_A_THREAD", 1)
    clock = ManualClock()
    store = MemoryStore(100, clock, Evictions())
    await fill(store, clock, "abcdefghijklmnop")
    search = asyncio.create_task(store.nearest("p1", EAST, 16, 2.0))
    await asyncio.sleep(0)  # the search has begun and waits for its thread
    for name in "bcdefghijklmno":
        await store.delete(f"p1-{name}")
    await fill(store, clock, "xyz")
    found = {candidate.stored.id for candidate in await search}
    assert {"p1-a", "p1-p"} <= found
    assert not found & {f"p1-{name}" for name in "bcdefghijklmno"}


Step = tuple[str, int, float]
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "advance"]), st.integers(0, 9), st.floats(0, 6.28))
)


@given(STEPS)
def test_it_behaves_like_a_list_that_is_searched_one_by_one(steps: list[Step]) -> None:
    asyncio.run(compare_with_a_list(steps, lambda angle: towards(np.cos(angle), np.sin(angle))))


async def compare_with_a_list(steps: list[Step], vector: Callable[[float], Embedding]) -> None:
    clock = ManualClock()
    store = MemoryStore(100, clock, Evictions())
    model: dict[str, tuple[StoredResponse, float]] = {}
    for action, number, angle in steps:
        name = str(number)
        if action == "put":
            stored = entry(clock, name, freshness_lifetime=float(number + 1))
            await store.put(stored, vector(angle))
            model[stored.id] = (stored, angle)
        elif action == "delete":
            assert await store.delete(f"p1-{name}") == (f"p1-{name}" in model)
            model.pop(f"p1-{name}", None)
        else:
            clock.advance(number / 2)
        model = {k: v for k, v in model.items() if v[0].is_fresh(clock.now)}
        found = await store.nearest("p1", vector(angle), 20, 2.0)
        expected = {k: 1 - np.cos(other - angle) for k, (_, other) in model.items()}
        assert {n.stored.id: pytest.approx(n.distance, abs=1e-5) for n in found} == expected
        assert [n.distance for n in found] == sorted(n.distance for n in found)


async def test_many_that_expire_at_once_are_gone_at_once_and_removed_bit_by_bit() -> None:
    clock, evictions = ManualClock(), Evictions()
    store = MemoryStore(2000, clock, evictions)
    for index in range(1000):
        await store.put(entry(clock, str(index)), towards(1, 0.001 * index))
    clock.advance(60)
    assert await store.get("p1-999") is None
    assert await store.nearest("p1", EAST, 4, 2.0) == []
    assert await store.count() == Counts(0, 0)
    assert 0 < len(evictions) < 1000
    for _ in range(10):
        await store.get("p1-0")
    assert len(evictions) == 1000
    assert not store._partitions
