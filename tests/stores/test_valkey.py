"""The shared store: cases that occur only on a server that others use, too."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from app.core.feedback import Standing
from app.core.models import Counts, EmbeddingModel, StoredEmbedding
from app.core.selectors import Near, Selector
from app.core.tags import Tagging
from app.engine.resilient_store import judged
from app.stores.valkey.client import Command, Reply, Server
from app.stores.valkey.keys import Keys
from tests.stores.valkey_fleet import EAST, KEYS, Fleet, entry, fleet_on, names, towards, until


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with fleet_on() as fleet:
        yield fleet


async def test_what_one_stores_the_other_finds_at_once(fleet: Fleet) -> None:
    one, other = await fleet.store(), await fleet.store()
    assert await other.get("a") is None
    await one.put(stored := entry("a"), EAST)
    assert await other.get("a") == stored
    assert await names(other, towards(1, 0.1)) == ["a"]
    await other.put(newer := entry("a", content=b"{}"), EAST)
    assert await one.get("a") == newer


async def test_what_one_deletes_or_purges_the_other_does_not_find(fleet: Fleet) -> None:
    one, other = await fleet.store(), await fleet.store()
    for name in "ab":
        await one.put(entry(name), EAST)
    assert await names(other) == ["a", "b"]
    await one.delete("a")
    assert (await other.get("a"), await names(other)) == (None, ["b"])
    assert await other.purge() == 1
    assert (await one.get("b"), await names(one)) == (None, [])
    assert one.epoch == other.epoch


async def test_an_answer_that_was_on_its_way_when_another_proxy_purged_is_not_kept(
    fleet: Fleet,
) -> None:
    one, other = await fleet.store(), await fleet.store()
    await one.get("a")
    asked = entry("a", epoch=one.epoch)
    await other.purge()
    await one.put(asked, EAST)
    for store in (one, other):
        assert (await store.get("a"), await names(store)) == (None, [])
    assert await fleet.by_hand.keys(f"{KEYS.entries}") == []


async def test_an_answer_that_was_on_its_way_when_another_proxy_began_a_turn_is_not_kept(
    fleet: Fleet,
) -> None:
    one, other = await fleet.store(), await fleet.store()
    await one.put(entry("old"), EAST)
    asked = entry("a", epoch=one.epoch)
    await other.advance_epoch()
    await one.put(asked, EAST)
    for store in (one, other):
        assert (await store.get("a"), await names(store)) == (None, ["old"])
    assert await fleet.by_hand.keys(KEYS.entries) == [KEYS.entry(1, "old").encode()]
    assert one.epoch == other.epoch


async def test_a_turn_does_not_undo_a_purge_that_another_proxy_has_not_seen(fleet: Fleet) -> None:
    one, other = await fleet.store(), await fleet.store()
    await one.put(entry("a"), EAST)
    assert await other.get("a") is not None
    await one.purge()
    await other.advance_epoch()
    for store in (one, other):
        assert (await store.get("a"), await names(store)) == (None, [])


async def test_what_one_proxy_is_told_is_wrong_the_other_does_not_reword(fleet: Fleet) -> None:
    one, other = await fleet.store(), await fleet.store()
    await one.put(entry("a"), EAST)
    left = await fleet.by_hand.pttl(KEYS.entry(1, "a"))
    assert await judged(other, "a", correct=False) is Standing.EXACT_ONLY
    (candidate,) = await one.nearest("p1", EAST, 4, 2.0)
    assert candidate.stored.is_disputed
    assert left - 5_000 < await fleet.by_hand.pttl(KEYS.entry(1, "a")) <= left
    assert await judged(one, "a", correct=False) is Standing.REMOVED
    assert await fleet.by_hand.keys(KEYS.entries) == []


async def test_a_damaged_entry_is_not_selected(fleet: Fleet) -> None:
    store = await fleet.store()
    await store.put(entry("a"), EAST)
    await store.put(entry("b", tagging=Tagging("n")), EAST)
    await fleet.by_hand.hset(KEYS.entry(1, "b"), "tags", b"\xff")
    await fleet.by_hand.hset(KEYS.entry(1, "bare"), "a", "b")
    await fleet.by_hand.set(KEYS.entry(1, "text"), "a")
    for selector in (Selector(model="gpt-test"), Selector(near=Near(EAST, 1.0))):
        page = await store.scan("", 10, selector)
        assert [stored.id for stored in page.entries] == ["a"]
    assert await store.embeddings_of(["text", "bare"]) == [None, None]


async def test_a_purge_removes_in_the_end_what_it_made_unreadable(fleet: Fleet) -> None:
    store, alien = await fleet.store(), await fleet.store(EmbeddingModel("other", 4))
    for index in range(30):
        await store.put(entry(str(index)), EAST)
        await alien.put(entry(str(index)), EAST)
    await store.put_embeddings([StoredEmbedding("e", "m", b"1234", 4, 2e9, 60.0)])
    await fleet.send("SET foreign:key 1")
    await store.purge()
    await store.put(entry("new"), EAST)

    async def is_clear() -> bool:
        keys = await fleet.by_hand.keys("*:*:*:*") + await fleet.by_hand.keys("embedding:*")
        return len(keys) == 1

    await until(is_clear)
    assert await names(store) == ["new"]
    assert await fleet.send("GET foreign:key") == b"1"


async def test_entries_are_written_as_the_tutorial_has_them_and_end_by_themselves(
    fleet: Fleet,
) -> None:
    store = await fleet.store()
    await store.put(entry("a"), EAST)
    (key,) = await fleet.by_hand.keys("cache:*:a")
    fields = await fleet.by_hand.hgetall(key)
    assert fields[b"prompt"] == b"What is a?"
    assert fields[b"response"] == b'{"name":"a"}'
    assert fields[b"embedding"] == EAST.astype("<f4").tobytes()
    assert 599_000 < await fleet.by_hand.pttl(key) <= 600_000


async def test_nothing_is_written_that_has_no_life_left(fleet: Fleet) -> None:
    store = await fleet.store()
    await store.put(entry("a", freshness_lifetime=0.0), EAST)
    await store.put_embeddings([StoredEmbedding("e", "m", b"1234", 4, 1.0, 60.0)])
    assert await fleet.by_hand.keys("*:a") + await fleet.by_hand.keys("embedding:*") == []


async def test_expired_entries_hide_no_live_ones(fleet: Fleet) -> None:
    fleet.may_be_harmed()
    store = await fleet.store()
    await fleet.send("DEBUG SET-ACTIVE-EXPIRE 0")
    for index in range(8):
        await store.put(entry(str(index), freshness_lifetime=0.05), EAST)
    await store.put(entry("alive"), towards(1, 0.1))

    async def are_gone() -> bool:
        return await names(store) == ["alive"]

    await until(are_gone)


@pytest.mark.parametrize(
    "line",
    [
        "HDEL {key} response",
        "HDEL {key} epoch",
        "HSET {key} version 0",
        "HSET {key} created_at soon",
        "HSET {key} epoch another",
        "HSET {key} partition p2",
        "HSET {key} encoding zip",
        "SET {key} string",
    ],
)
async def test_what_cannot_be_read_is_a_miss(fleet: Fleet, line: str) -> None:
    store = await fleet.store()
    await store.put(entry("a"), EAST)
    await store.put(entry("b"), towards(1, 0.1))
    (key,) = await fleet.by_hand.keys("cache:*:a")
    await fleet.send(line.format(key=key.decode()))
    assert await names(store) == ["b"]
    found = await store.get("a")
    assert found is None or found.key.partition == "p2"  # which the caller refuses
    assert await store.count() in (Counts(1, 0), Counts(2, 0))
    await store.put(entry("a"), EAST)
    assert await names(store) == ["a", "b"]


async def test_a_vector_of_another_length_is_found_by_its_key_alone(fleet: Fleet) -> None:
    store = await fleet.store()
    await store.put(entry("a"), EAST)
    (key,) = await fleet.by_hand.keys("cache:*:a")
    await fleet.by_hand.hset(key, "embedding", b"12345678")
    assert await names(store) == []
    assert await store.get("a") is not None
    with pytest.raises(ValueError, match="shape"):
        await store.nearest("p1", np.ones(3, np.float32), 4, 2.0)


async def test_embeddings_that_cannot_be_read_are_misses(fleet: Fleet) -> None:
    store = await fleet.store()
    await store.count()
    await fleet.by_hand.set("embedding:a", b"damaged\xff")
    await fleet.by_hand.set("embedding:b", b"[]\n1234")
    await fleet.send("HSET embedding:c a b")
    assert await store.get_embeddings(["a", "b", "c", "d"]) == [None] * 4
    assert await store.count() == Counts(0, 0)


@pytest.mark.parametrize(
    "completion", [b"\x00\xff" * 3_000_000, "ů漢字😀\u2028\0".encode() * 500, b"{}"]
)
async def test_answers_come_back_whatever_their_size_and_characters(
    fleet: Fleet, completion: bytes
) -> None:
    store = await fleet.store()
    rng = np.random.default_rng(0)
    stored = entry("a", content=completion + rng.bytes(len(completion)))
    await store.put(stored, EAST)
    assert await store.get("a") == stored
    (candidate,) = await store.nearest("p1", EAST, 4, 2.0)
    assert candidate.stored == stored


async def test_an_index_of_another_model_is_left_alone_and_reported(fleet: Fleet) -> None:
    store, alien = await fleet.store(), await fleet.store(EmbeddingModel("other", 8))
    await alien.put(entry("a"), np.ones(8, np.float32) / np.float32(8**0.5))
    await store.put(entry("b"), EAST)
    assert (await store.get("a"), await names(store)) == (None, ["b"])
    facts = await store.facts()
    assert facts["other_models"] == [Keys.of("other", 8).index(1)]
    assert facts["generations"] == [{"number": 1, "entries": 1, "inserts": 1}]
    assert len(await alien.nearest("p1", np.ones(8, np.float32), 4, 2.0)) == 1


async def test_many_proxies_that_start_at_once_agree(fleet: Fleet) -> None:
    stores = [await fleet.store() for _ in range(12)]
    await asyncio.gather(*(store.get("a") for store in stores))
    assert len({store.epoch for store in stores}) == 1
    assert await fleet.send("FT._LIST") == [KEYS.index(1).encode()]
    await asyncio.gather(
        *(store.put(entry(str(index)), EAST) for index, store in enumerate(stores))
    )
    assert await stores[0].count() == Counts(12, 0)


@pytest.mark.parametrize("line", ["FLUSHALL", "FLUSHDB", "FT.DROPINDEX {index}"])
async def test_what_is_lost_while_running_is_made_again(fleet: Fleet, line: str) -> None:
    fleet.may_be_harmed()
    store = await fleet.store()
    await store.put(entry("a"), EAST)
    await fleet.send(line.format(index=KEYS.index(1)))
    assert await store.nearest("p1", EAST, 4, 2.0) == []  # an error to nobody
    await store.put(entry("b"), EAST)

    async def is_found() -> bool:
        return "b" in await names(store)

    await until(is_found)
    assert await store.get("b") is not None


async def test_after_a_flush_an_answer_to_what_was_asked_before_it_is_not_kept(
    fleet: Fleet,
) -> None:
    store = await fleet.store()
    await store.get("a")
    asked = entry("a", epoch=store.epoch)
    await fleet.send("FLUSHDB")
    await store.get("a")
    await store.put(asked, EAST)
    assert await store.get("a") is None


async def test_a_list_that_was_evicted_is_made_of_the_indexes_there_are(fleet: Fleet) -> None:
    store, other = await fleet.store(), await fleet.store()
    await store.purge()  # now it is generation 2
    await store.put(entry("a"), EAST)
    await fleet.send(f"DEL {KEYS.generations}")
    assert await other.get("a") is not None
    assert await names(store) == ["a"]
    assert await fleet.send(f"GET {KEYS.generations}") == b"2"


async def test_an_epoch_that_was_evicted_is_restored(fleet: Fleet) -> None:
    store, other = await fleet.store(), await fleet.store()
    await store.put(stored := entry("a"), EAST)
    assert await other.get("a") == stored
    await fleet.send("DEL cache:epoch")
    assert await other.get("a") is None  # in doubt

    async def is_found() -> bool:
        return {await store.get("a"), await other.get("a")} == {stored}

    await until(is_found)


async def test_a_count_of_inserts_that_was_evicted_is_restored(fleet: Fleet) -> None:
    store = await fleet.store()
    await asyncio.gather(*(store.put(entry(str(index)), None) for index in range(300)))
    await fleet.send(f"DEL {KEYS.inserts}")
    await store.put(entry("a"), EAST)

    async def is_restored() -> bool:
        return bool(await fleet.send(f"HGET {KEYS.inserts} 1") == b"301")

    await until(is_restored)


async def test_a_purge_leaves_the_keys_of_others_alone(fleet: Fleet) -> None:
    store = await fleet.store()
    others = {"cache:user:1:name": "x", "embedding:mine": "y", "cache:0123456789ab:1:x": "z"}
    await fleet.by_hand.mset(others)
    await fleet.send("HSET cache:ba9876543210:1:x a b")
    await store.put(entry("a"), EAST)
    await store.purge()

    async def is_clear() -> bool:
        return not await fleet.by_hand.keys("cache:*:a")

    await until(is_clear)
    assert await fleet.by_hand.exists(*others, "cache:ba9876543210:1:x") == 4


async def test_while_an_index_is_filled_again_what_is_there_answers(fleet: Fleet) -> None:
    store = await fleet.store()
    for index in range(20):
        await store.put(entry(str(index)), towards(1, 0.01 * index))
    fleet.server.switches.backfill_share = 0.5
    await fleet.send(f"FT.DROPINDEX {KEYS.index(1)}")

    async def some_are_found() -> bool:
        return len(await store.nearest("p1", EAST, 20, 2.0)) == 10

    await until(some_are_found)
    assert await store.get("19") is not None
    fleet.server.switches.backfill_share = 1.0

    async def all_are_found() -> bool:
        return len(await store.nearest("p1", EAST, 20, 2.0)) == 20

    await until(all_are_found)


async def test_a_flat_index_serves_as_well(fleet: Fleet) -> None:
    store = await fleet.store(algorithm="flat")
    await store.put(entry("a"), EAST)
    assert await names(store) == ["a"]


async def test_the_oldest_module_serves_as_well() -> None:
    async with fleet_on("1.0.3") as fleet:
        store = await fleet.store(seconds=0.5)
        await store.put(entry("a"), EAST)
        assert await names(store) == ["a"]
        fleet.server.switches.search_seconds = 2.0
        with pytest.raises(TimeoutError):
            await names(store)


async def test_neighbours_that_may_be_wrong_are_none(fleet: Fleet) -> None:
    store = await fleet.store(seconds=0.1)
    for name, vector in {"a": EAST, "b": towards(1, 0.1)}.items():
        await store.put(entry(name), vector)
    assert await names(store) == ["a", "b"]
    fleet.server.switches.search_seconds = 0.2
    with pytest.raises(Exception, match=r"timeout|^$"):
        await names(store)


async def test_a_refusal_of_another_kind_does_not_let_wrong_neighbours_through(
    fleet: Fleet,
) -> None:
    fleet.may_be_harmed()
    store = await fleet.store(seconds=0.5)
    await store.put(entry("near"), EAST)
    fleet.server.switches.refusal = "ERR syntax error"
    with pytest.raises(Exception, match="syntax"):
        await names(store)
    fleet.server.switches.refusal = ""
    fleet.server.switches.search_seconds = 1.0
    with pytest.raises(Exception, match="timeout"):
        await names(store)


async def test_a_great_many_entries_are_counted_by_sampling(fleet: Fleet) -> None:
    store = await fleet.store()
    embeddings = [StoredEmbedding(str(i), "m", b"1234", 4, 2e9, 600.0) for i in range(1500)]
    await store.put_embeddings(embeddings)
    await asyncio.gather(*(store.put(entry(str(index)), None) for index in range(500)))
    counts = await store.count()
    assert counts.answers == 500
    assert 1300 < counts.embeddings < 1700
    assert await store.purge() > 1700
    assert (await store.count()).answers == 0


async def test_a_scan_passes_over_what_is_not_an_entry(fleet: Fleet) -> None:
    store = await fleet.store()
    await store.put(entry("a"), EAST)
    await fleet.send(f"SET {KEYS.entry(1, 'string')} x")
    await fleet.send(f"HSET {KEYS.entry(9, 'unlisted')} a b")
    page = await store.scan("", 10)
    assert ([stored.id for stored in page.entries], page.cursor) == (["a"], "")
    assert (await store.scan("nonsense", 10)).entries == []


class Counted:
    """The connections of a store, whose round trips are counted."""

    def __init__(self, connections: Server) -> None:
        self._connections = connections
        self.trips = 0

    async def call(self, *commands: Command) -> list[Reply]:
        self.trips += 1
        return await self._connections.call(*commands)

    async def aclose(self) -> None:
        await self._connections.aclose()


async def test_a_look_up_by_key_costs_one_round_trip_and_one_by_meaning_two(
    fleet: Fleet,
) -> None:
    store = await fleet.store()
    counted: Any = Counted(store._reads)
    writes: Any = Counted(store._writes)
    await store.get("a")
    store._reads, store._writes = counted, writes
    await store.put(entry("a"), EAST)
    assert (counted.trips, writes.trips) == (0, 1)
    assert await store.get("a") is not None
    assert counted.trips == 1
    assert await names(store) == ["a"]
    assert counted.trips == 3
    assert await store.nearest("p1", towards(0, 1), 4, 0.1) == []
    assert (counted.trips, writes.trips) == (4, 1)


async def test_a_fleet_adds_to_the_same_sums() -> None:
    async with fleet_on() as fleet:
        one, other = await fleet.store(), await fleet.store()
        await one.add_totals({"hits:": 1})
        await other.add_totals({"hits:": 2})
        assert await one.totals() == await other.totals() == {"hits:": 3}
