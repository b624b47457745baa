"""Entries that somebody else writes to a store are never served."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from app.stores import codec
from app.stores.seal import SEAL, Seal
from app.stores.sqlite.store import SqliteStore
from tests.fakes import ManualClock
from tests.stores.every_store import EAST, MODEL, embedding, ignore, towards
from tests.stores.every_store import entry as entry_at
from tests.stores.test_seal import Broken
from tests.stores.test_sqlite import Restarts
from tests.stores.valkey_fleet import KEYS, Fleet, entry, fleet_on, names

SECRET = b"secret"
FORGED = b'{"choices":[],"name":"forged"}'


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with fleet_on() as fleet:
        yield fleet


async def _alter(fleet: Fleet) -> None:
    await fleet.by_hand.hset(KEYS.entry(1, "a"), "response", FORGED)


async def _retag(fleet: Fleet) -> None:
    await fleet.by_hand.hset(KEYS.entry(1, "a"), "tags", "stolen")


async def _swap(fleet: Fleet) -> None:
    await fleet.by_hand.copy(KEYS.entry(1, "b"), KEYS.entry(1, "a"), replace=True)


async def _forge(fleet: Fleet) -> None:
    key = KEYS.entry(1, "a")
    fields = await fleet.by_hand.hgetall(key)
    told = {name.decode(): raw for name, raw in fields.items() if name != b"embedding"}
    stored = codec.response_of("a", {**told, "response": FORGED})
    await fleet.by_hand.hset(key, mapping=Seal(model="test").response_fields(stored))


async def _strip(fleet: Fleet) -> None:
    await fleet.by_hand.hdel(KEYS.entry(1, "a"), SEAL)


@pytest.mark.parametrize("harm", [_alter, _retag, _swap, _forge, _strip])
async def test_what_others_write_to_a_valkey_answers_nobody(
    fleet: Fleet, harm: Callable[[Fleet], Awaitable[None]]
) -> None:
    broken = Broken()
    store = await fleet.store(seal=Seal(SECRET, "test", broken))
    for name in "ab":
        await store.put(entry(name), EAST)
    await harm(fleet)
    assert await store.get("a") is None
    assert await names(store) == ["b"]
    assert broken.count == 2
    assert await store.get("b") is not None


async def test_an_entry_is_not_found_by_a_vector_that_others_gave_it(fleet: Fleet) -> None:
    broken = Broken()
    store = await fleet.store(seal=Seal(SECRET, "test", broken))
    await store.put(entry("a"), towards(0, 1))
    key = KEYS.entry(1, "a")
    await fleet.by_hand.hset(key, "embedding", codec.vector_bytes(EAST))
    assert await names(store) == []
    assert broken.count == 1


async def test_an_embedding_that_others_wrote_to_a_valkey_answers_nobody(fleet: Fleet) -> None:
    broken = Broken()
    store = await fleet.store(seal=Seal(SECRET, "test", broken))
    plain = await fleet.store()
    clock = ManualClock(time.time())
    await plain.put_embeddings([embedding(clock)])
    assert list(await plain.get_embeddings(["e"])) != [None]
    assert list(await store.get_embeddings(["e"])) == [None]
    assert broken.count == 1


@pytest.mark.parametrize("secret", [b"", SECRET])
async def test_what_was_altered_in_a_file_answers_nobody(tmp_path: Path, secret: bytes) -> None:
    restarts = Restarts(tmp_path / "cache.db")

    def store(broken: Broken) -> SqliteStore:
        seal = Seal(secret, MODEL.name, broken)
        return SqliteStore(restarts.path, MODEL, 100, restarts.clock, ignore, seal)

    first = store(Broken())
    for name in "abcd":
        await first.put(entry_at(restarts.clock, name), EAST)
    await first.aclose()
    restarts.run(
        "UPDATE entries SET fields = (SELECT fields FROM entries WHERE digest = 'p1-c')"
        " WHERE digest = 'p1-a'"
    )
    restarts.run("UPDATE entries SET fields = 'a text' WHERE digest = 'p1-d'")
    restarts.run("UPDATE entries SET vector = zeroblob(16) WHERE digest = 'p1-b'")
    broken = Broken()
    second = store(broken)
    assert [await second.get(digest) for digest in ("p1-a", "p1-d")] == [None, None]
    assert await second.get("p1-b") is not None  # for the very same question only
    assert [near.stored.id for near in await second.nearest("p1", EAST, 9, 2.0)] == ["p1-c"]
    assert broken.count == 2
    await second.aclose()
