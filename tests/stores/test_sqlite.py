import asyncio
import logging
import secrets
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.feedback import Standing
from app.core.models import CacheKey, Counts, EmbeddingModel
from app.core.ports import WholeStore
from app.core.tags import Tagging
from app.engine.resilient_store import judged
from app.stores.memory.store import MemoryStore
from app.stores.sqlite.store import SqliteStore
from benchmarks.kill_9 import Acknowledged, losses, run_round
from tests.fakes import ManualClock
from tests.stores.every_store import EAST, MODEL, embedding, entry, ids, towards

ROOT = Path(__file__).parent.parent.parent


class Restarts:
    """A file, and stores that are opened on it one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.evictions: list[str] = []

    @asynccontextmanager
    async def store(
        self, *, max_entries: int = 100, model: EmbeddingModel = MODEL
    ) -> AsyncIterator[SqliteStore]:
        def note(kind: str, reason: str) -> None:
            self.evictions.append(f"{kind} {reason}")

        store = SqliteStore(self.path, model, max_entries, self.clock, note)
        yield store
        await store.aclose()

    def rows(self) -> int:
        """Count the rows of the file. No store may have the file open."""
        connection = sqlite3.connect(self.path)
        (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
        connection.close()
        return int(count)

    def run(self, statement: str) -> None:
        connection = sqlite3.connect(self.path)
        with connection:
            connection.execute(statement)
        connection.close()


@pytest.fixture
def restarts(tmp_path: Path) -> Restarts:
    return Restarts(tmp_path / "cache.db")


async def test_everything_alive_survives_a_restart(restarts: Restarts) -> None:
    long = entry(restarts.clock, "long", content=secrets.token_bytes(400_000))
    kept = [
        (entry(restarts.clock, "a"), EAST),
        (entry(restarts.clock, "b", partition="p2"), towards(1, 1)),
        (entry(restarts.clock, "exact"), None),
        (replace(entry(restarts.clock, "no text"), key=CacheKey("p1", "p1-no", None)), None),
        (long, towards(0, 1)),
    ]
    embeddings = [embedding(restarts.clock, "e1"), embedding(restarts.clock, "p1-a")]
    async with restarts.store() as store:
        for stored, vector in kept:
            await store.put(stored, vector)
        await store.put_embeddings(embeddings)
        epoch = store.epoch
    async with restarts.store() as store:
        assert await store.count() == Counts(5, 2)
        assert store.epoch == epoch
        assert await store.get_embeddings(["e1", "p1-a"]) == embeddings
        for stored, vector in kept:
            assert await store.get(stored.id) == stored
            if vector is not None:
                (near,) = await store.nearest(stored.key.partition, vector, 1, 0.01)
                assert near.stored == stored
        assert len(await store.nearest("p1", EAST, 9, 2.0)) == 2


async def test_a_restart_neither_prolongs_life_nor_shortens_it(restarts: Restarts) -> None:
    async with restarts.store() as store:
        await store.put(entry(restarts.clock, "short", freshness_lifetime=10.0), EAST)
        await store.put(entry(restarts.clock, "long", freshness_lifetime=20.0), EAST)
        await store.put_embeddings([embedding(restarts.clock)])
    restarts.clock.advance(10)
    async with restarts.store() as store:
        assert await ids(store, 10) == ["p1-long"]
        assert await store.count() == Counts(1, 1)
        restarts.clock.advance(10)
        assert await store.get("p1-long") is None
    assert restarts.rows() == 1


async def test_what_was_replaced_stays_replaced(restarts: Restarts) -> None:
    newer = entry(restarts.clock, content=b"newer")
    async with restarts.store() as store:
        await store.put(entry(restarts.clock), EAST)
        await store.put(newer, None)
    async with restarts.store() as store:
        assert await store.get("p1-a") == newer
        assert await store.nearest("p1", EAST, 4, 2.0) == []


async def test_what_was_deleted_stays_away(restarts: Restarts) -> None:
    async with restarts.store() as store:
        await store.put(entry(restarts.clock, "a"), EAST)
        await store.put(entry(restarts.clock, "b"), EAST)
        assert await store.delete("p1-a")
    async with restarts.store() as store:
        assert await ids(store, 10) == ["p1-b"]
        assert [n.stored.id for n in await store.nearest("p1", EAST, 4, 2.0)] == ["p1-b"]


async def test_what_was_purged_stays_away_and_so_does_what_was_on_its_way(
    restarts: Restarts,
) -> None:
    async with restarts.store() as store:
        late = entry(restarts.clock, "late", epoch=store.epoch)
        await store.put(entry(restarts.clock, "a"), EAST)
        await store.put_embeddings([embedding(restarts.clock)])
        purging = asyncio.create_task(store.purge())
        await asyncio.sleep(0)
        await store.put(late, EAST)
        assert await purging == 2
        await store.put(entry(restarts.clock, "new", epoch=store.epoch), EAST)
        await store.put(replace(entry(restarts.clock, "new"), epoch=late.epoch), None)
        epoch = store.epoch
    assert restarts.rows() == 1
    async with restarts.store() as store:
        assert await store.count() == Counts(1, 0)
        assert [n.stored.id for n in await store.nearest("p1", EAST, 4, 2.0)] == ["p1-new"]
        assert store.epoch == epoch != late.epoch


async def test_an_answer_is_not_served_before_it_is_in_the_file(restarts: Restarts) -> None:
    async with restarts.store() as store:
        putting = asyncio.create_task(store.put(entry(restarts.clock), EAST))
        await asyncio.sleep(0)
        assert await store.get("p1-a") is None
        await putting
        assert await store.get("p1-a") is not None


async def test_what_gave_way_leaves_the_file_too(restarts: Restarts) -> None:
    async with restarts.store(max_entries=3) as store:
        for name in "abc":
            await store.put(entry(restarts.clock, name), EAST)
        store.use("p1-a")
        await store.put(entry(restarts.clock, "d"), EAST)
        await store.put(entry(restarts.clock, "e"), EAST)
    assert restarts.evictions == ["chat_completion lru"] * 2
    assert restarts.rows() == 3
    async with restarts.store(max_entries=3) as store:
        assert await ids(store, 10) == ["p1-a", "p1-d", "p1-e"]


async def test_the_newest_are_kept_where_there_is_room_for_fewer(restarts: Restarts) -> None:
    async with restarts.store() as store:
        for name in "abcde":
            await store.put(entry(restarts.clock, name), EAST)
        await store.put(entry(restarts.clock, "a"), EAST)
        await store.put_embeddings([embedding(restarts.clock, name) for name in "abc"])
    async with restarts.store(max_entries=2) as store:
        assert await ids(store, 10) == ["p1-e", "p1-a"]
        assert await store.get_embeddings(["a", "b", "c"]) == [
            None,
            embedding(restarts.clock, "b"),
            embedding(restarts.clock, "c"),
        ]
    assert restarts.rows() == 4


@pytest.mark.parametrize(
    "model", [EmbeddingModel("another", MODEL.dimensions), EmbeddingModel(MODEL.name, 3)]
)
async def test_another_models_embeddings_are_not_compared(
    restarts: Restarts, model: EmbeddingModel, caplog: pytest.LogCaptureFixture
) -> None:
    vector = np.eye(1, model.dimensions, dtype=np.float32)[0]
    async with restarts.store() as store:
        await store.put(entry(restarts.clock, "a"), EAST)
        await store.put(entry(restarts.clock, "exact"), None)
    async with restarts.store(model=model) as store:
        assert await store.get("p1-a") == entry(restarts.clock, "a")
        assert await store.nearest("p1", vector, 4, 2.0) == []
        await store.put(entry(restarts.clock, "b"), vector)
    (record,) = caplog.records
    assert record.getMessage().endswith(
        ": 1 entries were embedded by another model; they are exact matches only"
    )
    for now, found in ((model, "p1-b"), (MODEL, "p1-a")):
        async with restarts.store(model=now) as store:
            vector = np.eye(1, now.dimensions, dtype=np.float32)[0]
            assert [n.stored.id for n in await store.nearest("p1", vector, 4, 2.0)] == [found]


async def test_entries_that_cannot_be_read_are_left_out_and_counted(
    restarts: Restarts, caplog: pytest.LogCaptureFixture
) -> None:
    async with restarts.store() as store:
        for name in "abc":
            await store.put(entry(restarts.clock, name), EAST)
        await store.put_embeddings([embedding(restarts.clock)])
    restarts.run("UPDATE entries SET fields = substr(fields, 1, 70) WHERE digest IN ('p1-a', 'e')")
    restarts.run("UPDATE entries SET fields = x'ff' WHERE digest = 'p1-b'")
    async with restarts.store() as store:
        assert await ids(store, 10) == ["p1-c"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (f"{restarts.path}: 3 entries cannot be read and are ignored")
    assert restarts.rows() == 1


async def test_a_damaged_embedding_leaves_the_exact_match(restarts: Restarts) -> None:
    async with restarts.store() as store:
        await store.put(entry(restarts.clock), EAST)
    restarts.run("UPDATE entries SET vector = x'00'")
    async with restarts.store() as store:
        assert await store.get("p1-a") is not None
        assert await store.nearest("p1", EAST, 4, 2.0) == []


async def test_closing_writes_what_is_pending(restarts: Restarts) -> None:
    async with restarts.store() as store:
        tasks = [
            asyncio.create_task(store.put(entry(restarts.clock, str(index)), EAST))
            for index in range(50)
        ]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert restarts.rows() == 50


FULL_DISK = """
import asyncio, os, resource, signal, sqlite3, sys
from pathlib import Path
from benchmarks.kill_9 import embedding, open_store, response, vector

HARD = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

async def fails(work):
    try:
        await work
    except sqlite3.OperationalError:
        return True
    return False

async def main():
    store = open_store(Path(sys.argv[1]))
    names = [f"a-{number}" for number in range(10_000)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, HARD))
    put = 0
    while not await fails(store.put(response(names[put]), vector(names[put]))):
        put += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, HARD))
    assert await fails(store.put_embeddings([embedding("e")]))
    assert put > 10
    for name in names[:put]:
        assert await store.get(name) == response(name)
    assert await store.get(names[put]) is None
    assert await store.delete(names[0]) == 1
    assert await store.get(names[0]) is None
    assert await store.get(names[1]) == response(names[1])
    assert await fails(store.put(response(names[0]), vector(names[0])))
    if sys.argv[2] == "purge":
        assert await store.purge() == put - 1
        assert await store.get(names[1]) is None
    resource.setrlimit(resource.RLIMIT_FSIZE, (HARD, HARD))
    for name in names[put : 2 * put]:
        await store.put(response(name), vector(name))
    print(put, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("then", ["delete", "purge"])
async def test_on_a_full_disk_writes_fail_and_what_is_removed_never_comes_back(
    restarts: Restarts, then: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-c", FULL_DISK, str(restarts.path), then],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert output, errors.decode()
    put = int(output)
    told = Acknowledged(put={f"a-{number}" for number in range(put, 2 * put)})
    assert await losses(restarts.path, told) == []
    assert restarts.rows() == put


async def test_nothing_acknowledged_is_lost_when_the_process_is_killed(restarts: Restarts) -> None:
    told = Acknowledged()
    for number in range(1, 6):  # the fourth purges first
        delay = secrets.SystemRandom().uniform(0.05, 0.3)
        await asyncio.to_thread(run_round, restarts.path, number, delay, told)
        assert await losses(restarts.path, told) == []
    assert told.put
    assert told.embedded
    assert told.deleted
    assert told.purged


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "exact", "embed", "delete", "purge", "advance", "restart"]),
        st.integers(0, 5),
    ),
    max_size=30,
)


@settings(max_examples=40)
@given(STEPS)
def test_restarts_change_nothing(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare_with_memory(Restarts(Path(folder) / "cache.db"), steps))


async def compare_with_memory(restarts: Restarts, steps: list[tuple[str, int]]) -> None:
    memory = MemoryStore(100, restarts.clock, lambda _kind, _reason: None)
    left = [*steps, ("restart", 0)]
    while left:
        async with restarts.store() as store:
            while left and (step := left.pop(0))[0] != "restart":
                for each in (memory, store):
                    await take(each, restarts.clock, *step)
        async with restarts.store() as store:
            assert await ids(store, 100) == await ids(memory, 100)
            names = list("012345")
            assert await store.get_embeddings(names) == await memory.get_embeddings(names)
            found, expected = [await each.nearest("p1", EAST, 9, 2.0) for each in (store, memory)]
            assert {n.stored.id: n for n in found} == {n.stored.id: n for n in expected}
    await memory.aclose()


async def take(store: WholeStore, clock: ManualClock, action: str, number: int) -> None:
    stored = entry(clock, str(number), freshness_lifetime=number + 1.0)
    match action:
        case "put":
            await store.put(stored, towards(1, number))
        case "exact":
            await store.put(stored, None)
        case "embed":
            await store.put_embeddings([embedding(clock, str(number))])
        case "delete":
            await store.delete(stored.id)
        case "purge":
            await store.purge()
        case "advance":
            clock.advance(number / 4)


async def test_an_earlier_turn_and_what_was_judged_survive_a_restart(restarts: Restarts) -> None:
    labels = Tagging("n", frozenset({"a", "b"}))
    async with restarts.store() as store:
        before = store.epoch
        await store.put(entry(restarts.clock, "a", epoch=before, tagging=labels), EAST)
        await store.put_embeddings([replace(embedding(restarts.clock), epoch=before)])
        await store.advance_epoch()
        assert await judged(store, "p1-a", correct=False) is Standing.EXACT_ONLY
        epoch = store.epoch
    async with restarts.store() as store:
        assert store.epoch == epoch
        assert await store.count() == Counts(1, 1)
        (near,) = await store.nearest("p1", EAST, 4, 0.01)
        assert near.stored == entry(restarts.clock, "a", tagging=labels, is_disputed=True)
        await store.put(entry(restarts.clock, "late", epoch=before), EAST)
        assert await store.get("p1-late") is None
        assert await judged(store, "p1-a", correct=False) is Standing.REMOVED
    assert restarts.rows() == 1  # the embedding


async def test_an_answer_that_is_replaced_while_the_old_one_is_judged_stays(
    restarts: Restarts,
) -> None:
    newer = entry(restarts.clock, stored_at=restarts.clock.now + 1, content=b"newer")
    async with restarts.store() as store:
        await store.put(entry(restarts.clock), EAST)
        await asyncio.gather(store.put(newer, EAST), judged(store, "p1-a", correct=False))
        assert await store.get("p1-a") == newer
    async with restarts.store() as store:
        assert await store.get("p1-a") == newer
