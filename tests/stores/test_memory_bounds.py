"""The memory of a store in this process: as much as it reports, and never more than its limit."""

import hashlib
import secrets
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from sys import getsizeof

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.feedback import Standing
from app.core.models import CacheKey, Embedding, StoredEmbedding, StoredResponse
from app.core.tags import Tagging
from app.stores.memory.sizes import size_of, size_of_embedding, size_of_row
from app.stores.memory.store import MemoryStore
from app.stores.sqlite.store import SqliteStore
from tests.fakes import ManualClock
from tests.stores.every_store import EAST, MODEL, embedding, entry
from tests.stores.test_memory import Evictions, alive

MANY = 2000
MEGABYTE = 1_048_576
WITHIN = (0.75, 1.35)  # of what is accounted for, what is held: rows that wait are not counted
NOW = ManualClock().now

Put = Callable[[MemoryStore, int], None]


def named(number: object) -> str:
    """Return a digest that nothing else in the process refers to."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def answer(number: int, partition: str, size: int = 600) -> StoredResponse:
    return StoredResponse(
        CacheKey(partition, named(number), f"question {number} " * 4),
        f"model-{number}",
        secrets.token_bytes(size),
        NOW + number / 7,
        3600.0 + number / 3,
        parts=f'{{"number": {number}}}',
        caller=named(f"caller {number}"),
    )


def vector(dimensions: int = 384) -> Embedding:
    return np.frombuffer(secrets.token_bytes(4 * dimensions), np.float32).copy()


def put_exact(store: MemoryStore, number: int) -> None:
    store.keep(answer(number, named("alone")), None)


def put_alone(store: MemoryStore, number: int) -> None:
    store.keep(answer(number, named(f"partition {number}")), vector())


def put_together(store: MemoryStore, number: int) -> None:
    store.keep(answer(number, named("all")), vector())


def put_large(store: MemoryStore, number: int) -> None:
    store.keep(answer(number, named(f"partition {number % 9}"), 20_000), vector(1536))


def put_embedding(store: MemoryStore, number: int) -> None:
    numbers, lifetime = secrets.token_bytes(1536 * 4), 3600.0 + number / 3
    stored = StoredEmbedding(
        named(number), f"m-{number}", numbers, 4, NOW, lifetime, tokens=number / 3
    )
    store.keep_embeddings([stored])


@pytest.mark.parametrize(
    "put", [put_exact, put_alone, put_together, put_large, put_embedding], ids=lambda p: p.__name__
)
@pytest.mark.parametrize("most", [1000 * MEGABYTE, 2 * MEGABYTE])
def test_what_is_accounted_for_is_what_is_held(put: Put, most: int) -> None:
    evictions = Evictions()
    tracemalloc.start()
    try:
        store = MemoryStore(MANY, lambda: NOW, evictions, max_bytes=most)
        before, _ = tracemalloc.get_traced_memory()
        for number in range(MANY):
            put(store, number)
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    held -= sum(map(getsizeof, (evictions, *evictions)))
    assert WITHIN[0] * store.held < held < WITHIN[1] * store.held
    assert store.held <= most
    assert bool(evictions) == (most < 1000 * MEGABYTE)
    assert set(evictions) <= {"chat_completion bytes", "embedding bytes"}


def test_a_partition_that_shrinks_gives_its_rows_back() -> None:
    store = MemoryStore(MANY, lambda: NOW, Evictions())
    for number in range(MANY):
        put_together(store, number)
    for number in range(MANY):
        if number % 20:
            store._remove(named(number))
    (partition,) = store._partitions.values()
    written = sum(len(block.owners) for block in partition._blocks)
    assert len(partition) == MANY // 20 <= written <= 4 * len(partition)


async def test_rows_that_move_are_found_where_they_are() -> None:
    store = MemoryStore(100, lambda: NOW, Evictions())
    vectors = np.eye(64, dtype=np.float32)
    for number in range(64):
        store.keep(answer(number, "p"), vectors[number])
    for number in range(64):
        if number % 7:
            await store.delete(named(number))
    for number in range(0, 64, 7):
        (found,) = await store.nearest("p", vectors[number], 1, 0.1)
        assert found.stored.id == named(number)


async def test_over_answers_and_embeddings_the_least_recently_used_give_way() -> None:
    clock, evictions = ManualClock(), Evictions()
    old = replace(embedding(clock, "old"), numbers=b"x" * 4000)
    size = size_of(entry(clock, "a")) + size_of_row(EAST)
    most = size_of_embedding(old) + 2 * size
    store = MemoryStore(9, clock, evictions, max_bytes=most)
    await store.put_embeddings([old])
    await store.put(entry(clock, "a"), EAST)
    await store.put(entry(clock, "b"), EAST)
    assert (store.held, evictions) == (most, [])
    await store.get_embeddings(["old"])
    await store.put(entry(clock, "c"), EAST)
    assert await alive(store, "abc") == "bc"
    assert await store.get_embeddings(["old"]) == [old]
    store.use("p1-b")
    store.use("p1-c")
    await store.put(entry(clock, "d"), EAST)
    assert await alive(store, "bcd") == "bcd"
    assert await store.get_embeddings(["old"]) == [None]
    assert evictions == ["chat_completion bytes", "embedding bytes"]


async def test_what_is_larger_than_the_whole_is_not_kept_and_nothing_gives_way_to_it() -> None:
    clock, evictions, left = ManualClock(), Evictions(), list[str]()
    store = MemoryStore(9, clock, evictions, lambda _, digest: left.append(digest), 10_000)
    await store.put(entry(clock, "a"), EAST)
    await store.put(replace(entry(clock, "b"), content=b"x" * 10_000), EAST)
    assert await alive(store, "ab") == "a"
    assert (evictions, left) == (["chat_completion bytes"], ["p1-b"])
    assert (await store.count()).answers == 1


async def test_an_older_answer_does_not_outlive_a_newer_one_that_is_too_large() -> None:
    clock = ManualClock()
    store = MemoryStore(9, clock, Evictions(), max_bytes=10_000)
    await store.put(entry(clock, "a"), EAST)
    await store.put(replace(entry(clock, "a"), content=b"x" * 10_000), EAST)
    assert (await alive(store, "a"), store.held) == ("", 0)


async def test_a_file_has_what_memory_has(tmp_path: Path) -> None:
    clock, evictions = ManualClock(), Evictions()
    path = tmp_path / "cache.db"
    store = SqliteStore(path, MODEL, 9, clock, evictions, max_bytes=10_000)
    for name in "abcdefgh":
        await store.put(entry(clock, name), EAST)
    await store.put(replace(entry(clock, "large"), content=b"x" * 10_000), EAST)
    kept = [stored.id for stored in (await store.scan("", 10)).entries]
    await store.aclose()
    assert 0 < len(kept) < 8
    assert set(evictions) == {"chat_completion bytes"}
    again = SqliteStore(path, MODEL, 9, clock, evictions, max_bytes=5_000)
    fewer = [stored.id for stored in (await again.scan("", 10)).entries]
    await again.aclose()
    assert fewer == kept[-len(fewer) :]
    assert 0 < len(fewer) < len(kept)


STEP = st.tuples(
    st.sampled_from(["put", "exact", "embed", "delete", "use", "ask", "purge", "advance"]),
    st.integers(0, 9),
    st.integers(0, 4000),
)


@given(st.lists(STEP, max_size=40), st.integers(2_000, 20_000))
async def test_accounted_for_is_the_sum_of_what_is_there_and_within_bounds(
    steps: list[tuple[str, int, int]], most: int
) -> None:
    clock = ManualClock()
    store = MemoryStore(6, clock, Evictions(), max_bytes=most)
    for action, number, size in steps:
        await take(store, clock, action, number, size)
        assert store.held == await recounted(store)
        assert store.held <= most


async def take(store: MemoryStore, clock: ManualClock, action: str, number: int, size: int) -> None:
    name = f"p1-{number}"
    tagging = Tagging("", frozenset("abc"[: number % 4]))
    stored = replace(
        entry(clock, str(number), freshness_lifetime=number + 1.0),
        content=b"x" * size,
        tagging=tagging,
    )
    if action in {"put", "exact"}:
        await store.put(stored, EAST if action == "put" else None)
    elif action == "embed":
        await store.put_embeddings([replace(embedding(clock, str(number)), numbers=b"x" * size)])
    elif action == "delete":
        await store.delete(name)
        await store.delete_embeddings(str(number))
    elif action == "use":
        store.use(name)
        await store.get_embeddings([str(number)])
    elif action == "purge":
        if number == 0:
            await store.purge()
    elif action == "advance":
        clock.advance(number / 4)
        await store.get("")
    elif kept := store.peek(name):
        await store.amend(kept, replace(kept, askers=frozenset({named(size), named(number)})))
        if kept := store.peek(name):
            await store.mark(kept, Standing.EXACT_ONLY)


async def recounted(store: MemoryStore) -> int:
    """Add up the sizes of all stored entries, expired or not."""
    answers = [kept.value for kept in store._responses._entries.values()]
    vectors = [store._embedding_of(stored) for stored in answers]
    return (
        sum(map(size_of, answers))
        + sum(size_of_row(found) for found in vectors if found is not None)
        + sum(size_of_embedding(kept.value) for kept in store._embeddings._entries.values())
    )
