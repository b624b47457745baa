"""A version of Reprise reads the entries of another version completely, or not at all.

The entries below are literal copies of entries of the first version. They must not be changed.
"""

from collections.abc import AsyncIterator, Mapping

import pytest

from app.core.models import CacheKey, Fullness, StoredEmbedding, StoredResponse
from app.stores import codec
from app.stores.valkey.keys import EPOCH
from tests.stores.valkey_fleet import EAST, KEYS, Fleet, entry, fleet_on, names

NOW = 1_700_000_000.25
LIFETIME = 4e9
EPOCH_THEN = "0123456789abcdef"
RESPONSE: Mapping[str, bytes] = {
    "version": b"1",
    "partition": b"p1",
    "response": b'{"choices": []}',
    "encoding": b"",
    "model": b"gpt-test",
    "created_at": b"1700000000.25",
    "lifetime": b"4000000000.0",
    "epoch": EPOCH_THEN.encode(),
    "prompt": b"What is Valkey?",
}
EMBEDDING: Mapping[str, bytes] = {
    "version": b"1",
    "numbers": bytes(range(8)),
    "width": b"4",
    "model": b"text-test",
    "created_at": b"1700000000.25",
    "lifetime": b"4000000000.0",
    "epoch": EPOCH_THEN.encode(),
}
NEWER: Mapping[str, bytes] = {"version": b"2"}
MORE: Mapping[str, bytes] = {"language": b"en", "shards": b"\xff\x00"}

KEY = CacheKey("p1", "a", "What is Valkey?")
READ = StoredResponse(
    KEY, "gpt-test", b'{"choices": []}', NOW, LIFETIME, EPOCH_THEN, fullness=Fullness.PLAIN
)
READ_EMBEDDING = StoredEmbedding("e", "text-test", bytes(range(8)), 4, NOW, LIFETIME, EPOCH_THEN)


@pytest.mark.parametrize("more", [{}, MORE])
def test_what_the_first_version_wrote_is_read(more: Mapping[str, bytes]) -> None:
    read = codec.response_of("a", {**RESPONSE, **more})
    assert (read, read.epoch, read.seconds) == (READ, EPOCH_THEN, 0)
    vector = codec.embedding_of("e", {**EMBEDDING, **more})
    assert (vector, vector.epoch) == (READ_EMBEDDING, EPOCH_THEN)


@pytest.mark.parametrize(
    ("completion", "fullness"),
    [
        (b'{"choices":[],"usage":{"total_tokens":5}}', Fullness.ALL),
        (b'{"choices":[],"usage":null}', Fullness.PLAIN),
        (rb'{"choices":[{"message":{"content":"\"usage\":{}"}}]}', Fullness.PLAIN),
    ],
)
def test_an_answer_of_the_first_version_is_full_if_it_tells_its_usage(
    completion: bytes, fullness: Fullness
) -> None:
    assert codec.response_of("a", {**RESPONSE, "response": completion}).fullness is fullness


def test_what_is_written_the_first_version_reads() -> None:
    assert codec.response_fields(READ).items() >= RESPONSE.items()
    assert codec.embedding_fields(READ_EMBEDDING).items() >= EMBEDDING.items()


def test_a_newer_version_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="another version"):
        codec.response_of("a", {**RESPONSE, **NEWER, **MORE})
    with pytest.raises(ValueError, match="another version"):
        codec.embedding_of("e", {**EMBEDDING, **NEWER, **MORE})


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with fleet_on() as fleet:
        await fleet.by_hand.set(EPOCH, EPOCH_THEN)
        await (await fleet.store()).count()  # which makes the index
        yield fleet


async def write(fleet: Fleet, response: Mapping[str, bytes], vector: Mapping[str, bytes]) -> None:
    """Write an entry as another proxy would."""
    fields = {**response, "embedding": EAST.astype("<f4").tobytes()}
    await fleet.by_hand.hset(KEYS.entry(1, "a"), mapping=fields)
    await fleet.by_hand.set("embedding:e", codec.fields_bytes(vector))


@pytest.mark.parametrize("more", [{}, MORE])
async def test_a_store_serves_what_the_first_version_wrote(
    fleet: Fleet, more: Mapping[str, bytes]
) -> None:
    await write(fleet, {**RESPONSE, **more}, {**EMBEDDING, **more})
    store = await fleet.store()
    assert await store.get("a") == READ
    (candidate,) = await store.nearest("p1", EAST, 4, 2.0)
    assert candidate.stored == READ
    assert await store.get_embeddings(["e"]) == [READ_EMBEDDING]
    assert (await store.scan("", 10)).entries == [READ]


async def test_a_store_passes_over_what_a_newer_version_wrote_and_writes_in_its_place(
    fleet: Fleet,
) -> None:
    await write(fleet, {**RESPONSE, **NEWER, **MORE}, {**EMBEDDING, **NEWER, **MORE})
    store = await fleet.store()
    assert (await store.get("a"), await names(store)) == (None, [])
    assert await store.get_embeddings(["e"]) == [None]
    assert (await store.scan("", 10)).entries == []
    await store.put(stored := entry("a"), EAST)
    assert (await store.get("a"), await names(store)) == (stored, ["a"])
