"""In stores outside the process: entries that are unchanged, and entries that were altered."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stores import codec
from app.stores.seal import SEAL, BrokenSeal, Seal
from tests.stores.test_codec import EMBEDDING, EMBEDDINGS, RESPONSES, STORED

VECTOR = bytes(range(16))
SECRETS = (b"", b"secret")


class Broken:
    """Counts the broken entries."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.mark.parametrize("secret", SECRETS)
@given(RESPONSES, EMBEDDINGS)
def test_what_is_sealed_comes_back_as_it_was(secret: bytes, stored: Any, known: Any) -> None:
    seal = Seal(secret, "m")
    found = seal.with_vector(stored, VECTOR)
    read = seal.response_of(stored.id, seal.response_fields(found))
    assert (read, read.vector_digest) == (stored, found.vector_digest)
    seal.check_vector(read, VECTOR)
    assert seal.embedding_of(known.id, seal.embedding_fields(known)) == known


@pytest.mark.parametrize("secret", SECRETS)
@given(RESPONSES, st.data())
def test_whatever_is_altered_breaks_the_seal(secret: bytes, stored: Any, data: Any) -> None:
    broken = Broken()
    seal = Seal(secret, "m", broken)
    fields = seal.response_fields(seal.with_vector(stored, VECTOR))
    name = data.draw(st.sampled_from(sorted(n for n in fields if fields[n])))
    at = data.draw(st.integers(0, len(fields[name]) - 1))
    raw = bytearray(fields[name])
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r".*"):
        seal.response_of(stored.id, {**fields, name: bytes(raw)})


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("name", ["tags", "disputed", "prompt", "partition", "vector"])
def test_a_field_that_goes_or_comes_breaks_the_seal(secret: bytes, name: str) -> None:
    broken = Broken()
    seal = Seal(secret, "m", broken)
    fields = seal.response_fields(STORED)
    changed = {n: raw for n, raw in fields.items() if n != name}
    if changed == fields:
        changed[name] = b"1"
    with pytest.raises(ValueError, match=r".+"):
        seal.response_of("d", changed)


@pytest.mark.parametrize("secret", SECRETS)
def test_an_entry_under_another_key_or_of_another_kind_is_broken(secret: bytes) -> None:
    broken = Broken()
    seal = Seal(secret, "m", broken)
    with pytest.raises(BrokenSeal):
        seal.response_of("other", seal.response_fields(STORED))
    with pytest.raises(BrokenSeal):
        seal.embedding_of("other", seal.embedding_fields(EMBEDDING))
    assert broken.count == 2


@pytest.mark.parametrize("secret", SECRETS)
def test_another_vector_than_the_entrys_own_is_broken(secret: bytes) -> None:
    seal = Seal(secret, "m")
    found = seal.with_vector(STORED, VECTOR)
    for other in (Seal(secret, "m"), Seal(secret, "another model")):
        vector = VECTOR if other._model != seal._model else bytes(16)
        with pytest.raises(BrokenSeal):
            other.check_vector(found, vector)


def test_under_a_secret_only_what_its_owner_has_sealed_is_read() -> None:
    seal = Seal(b"secret")
    for fields in (
        codec.response_fields(STORED),  # of a version that knew no seals
        Seal().response_fields(STORED),
        Seal(b"older").response_fields(STORED),
    ):
        with pytest.raises(BrokenSeal):
            seal.response_of("d", fields)


def test_without_a_secret_what_older_versions_wrote_is_read() -> None:
    seal = Seal()
    read = seal.response_of("d", codec.response_fields(STORED))
    assert read == STORED
    seal.check_vector(read, VECTOR)
    assert seal.embedding_of("d", codec.embedding_fields(EMBEDDING)) == EMBEDDING


def test_what_is_broken_is_counted_each_time_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = Broken()
    seal = Seal(b"secret", on_broken=broken)
    fields = seal.response_fields(STORED)
    for _ in range(3):
        with pytest.raises(BrokenSeal):
            seal.response_of("d", {**fields, "model": b"another"})
    assert broken.count == 3
    assert len(caplog.messages) == 1


def test_a_seal_says_nothing_of_the_secret_that_partitions_use() -> None:
    fields = Seal(b"secret").response_fields(replace(STORED))
    assert len(fields[SEAL]) == 16
    assert b"secret" not in b"".join(fields.values())
