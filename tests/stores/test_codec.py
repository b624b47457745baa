import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.models import CacheKey, Fullness, StoredEmbedding, StoredResponse
from app.core.tags import Tagging, checked_labels
from app.stores import codec
from app.stores.seal import Seal
from app.stores.valkey.entries import RESPONSE_FIELDS

TEXTS = st.text(max_size=50)
SECONDS = st.floats(0, 1e10)
LABELS = st.builds(
    checked_labels, TEXTS, st.frozensets(st.text(min_size=1, max_size=20), max_size=5)
).filter(bool)
RESPONSES = st.builds(
    StoredResponse,
    key=st.builds(CacheKey, partition=TEXTS, digest=TEXTS, text=st.none() | TEXTS),
    model=TEXTS,
    content=st.binary(max_size=5000) | st.integers(0, 9000).map(lambda n: b"answer " * n),
    stored_at=SECONDS,
    freshness_lifetime=SECONDS,
    stale_lifetime=SECONDS,
    epoch=st.just("e1"),
    parts=st.just("") | TEXTS,
    tagging=LABELS,
    is_disputed=st.booleans(),
    allow_origin=st.sampled_from(["", "*", "https://page.example"]),
    dialect=st.sampled_from(["chat_completion", "toy"]),
    upstream_id=st.sampled_from(["", "resp_1"]),
    caller=st.sampled_from(["", "0123", "0123 4567"]),
    askers=st.frozensets(st.text("0123456789abcdef", min_size=16, max_size=16), max_size=2),
    is_pinned=st.booleans(),
    seconds=st.floats(0, 86_400),
    vector_digest=st.sampled_from(["", "0123"]),
)
EMBEDDINGS = st.builds(
    StoredEmbedding,
    tokens=st.none() | st.floats(0, 1e6),
    id=TEXTS,
    model=TEXTS,
    numbers=st.integers(1, 40).map(lambda n: bytes(range(8)) * n),
    width=st.sampled_from([4, 8]),
    stored_at=SECONDS,
    freshness_lifetime=SECONDS,
    stale_lifetime=SECONDS,
    epoch=st.just("e1"),
    allow_origin=st.sampled_from(["", "*", "https://page.example"]),
    caller=st.sampled_from(["", "0123", "0123 4567"]),
)
STORED = StoredResponse(
    CacheKey("p", "d", "What?"), "m", json.dumps({"a": "b" * 5000}).encode(), 1.5, 60.0, "e1"
)
EMBEDDING = StoredEmbedding("d", "m", bytes(16), 4, 1.5, 60.0, "e1")


@given(RESPONSES)
def test_a_stored_response_comes_back_as_it_was(stored: StoredResponse) -> None:
    read = codec.response_of(stored.id, codec.response_fields(stored))
    assert (read, read.epoch) == (stored, stored.epoch)


def test_a_valkey_is_asked_for_every_field_that_is_written() -> None:
    """Seals cover all fields: a response that is read without one of them counts as altered."""
    stored = replace(
        STORED,
        tagging=Tagging("n", frozenset({"a"})),
        is_disputed=True,
        allow_origin="*",
        dialect="toy",
        upstream_id="resp_1",
        caller="0123",
        vector_digest="0123",
        askers=frozenset({"0123"}),
        is_pinned=True,
        parts="{}",
        stale_lifetime=1.0,
        seconds=2.5,
    )
    blank = StoredResponse(CacheKey("", "", None), "", b"", 0.0, 0.0)
    same = [f.name for f in fields(stored) if getattr(stored, f.name) == getattr(blank, f.name)]
    assert same == ["fullness"]  # which is always written; another field belongs above
    assert set(Seal().response_fields(stored)) <= set(RESPONSE_FIELDS)


def test_what_an_older_version_has_written_has_no_labels_and_is_not_disputed() -> None:
    labels = Tagging("n", frozenset({"a"}))
    fields = codec.response_fields(replace(STORED, tagging=labels, is_disputed=True))
    for name in ("namespace", "tags", "disputed"):
        del fields[name]
    assert codec.response_of("d", fields) == STORED


@pytest.mark.parametrize(
    ("written", "read"), [(2.5, 2.5), (0.0, 0.0), (-3.0, 0.0), (1e300, 86_400.0)]
)
def test_how_long_the_upstream_took_is_kept_within_bounds(written: float, read: float) -> None:
    fields = codec.response_fields(replace(STORED, seconds=written))
    assert codec.response_of(STORED.id, fields).seconds == read
    assert ("seconds" in fields) is bool(written)


@given(EMBEDDINGS)
def test_a_stored_embedding_comes_back_as_it_was(stored: StoredEmbedding) -> None:
    read = codec.embedding_of(stored.id, codec.embedding_fields(stored))
    assert (read, read.epoch) == (stored, stored.epoch)


# What an entry may lack: in its place, none of these is a newer version's.
OPTIONAL = {"prompt", "parts", "disputed", "namespace", "tags", "allow_origin"}
OPTIONAL |= {"dialect", "upstream_id", "fullness", "vector", "askers", "pinned", "seconds"}
UNKNOWN = TEXTS.filter(lambda name: name not in OPTIONAL)


@given(RESPONSES, st.dictionaries(UNKNOWN, st.binary(max_size=9)))
def test_fields_of_a_newer_version_are_ignored(
    stored: StoredResponse, more: dict[str, bytes]
) -> None:
    assert codec.response_of(stored.id, {**more, **codec.response_fields(stored)}) == stored


def test_a_long_answer_is_packed_and_a_short_one_can_be_read_by_eye() -> None:
    assert len(codec.response_fields(STORED)["response"]) < 100
    short = StoredResponse(STORED.key, "m", b'{"a": "b"}', 1.5, 60.0)
    assert codec.response_fields(short)["response"] == b'{"a": "b"}'


OPTIONAL = {"prompt", "encoding", "stale", "fullness"}
FIELDS = [name for name in codec.response_fields(STORED) if name not in OPTIONAL]


def test_what_was_written_before_answers_were_kept_stale_is_kept_while_it_is_fresh() -> None:
    response, embedding = codec.response_fields(STORED), codec.embedding_fields(EMBEDDING)
    del response["stale"], embedding["stale"]
    assert codec.response_of("d", response).stale_lifetime == 0
    assert codec.embedding_of("d", embedding).stale_lifetime == 0


@pytest.mark.parametrize("fullness", Fullness)
def test_how_full_an_answer_is_is_kept(fullness: Fullness) -> None:
    stored = replace(STORED, fullness=fullness)
    assert codec.response_of(stored.id, codec.response_fields(stored)) == stored


@pytest.mark.parametrize("name", FIELDS)
def test_a_response_that_lacks_a_field_is_refused(name: str) -> None:
    fields = codec.response_fields(STORED)
    del fields[name]
    with pytest.raises(ValueError, match=r"missing|version"):
        codec.response_of("d", fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", b"2"),
        ("response", codec.response_fields(STORED)["response"][:-3]),
        ("response", codec.response_fields(STORED)["response"] + b"x"),
        ("response", b"plain"),
        ("encoding", b"gzip"),
        ("created_at", b"yesterday"),
        ("created_at", b"nan"),
        ("lifetime", b"inf"),
        ("stale", b"long"),
        ("model", b"\xff"),
    ],
)
def test_a_damaged_response_is_refused(name: str, value: bytes) -> None:
    fields: dict[str, Any] = {**codec.response_fields(STORED), name: value}
    with pytest.raises(ValueError, match=r".+"):
        codec.response_of("d", fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [("version", b"2"), ("numbers", b""), ("numbers", b"12345"), ("width", b"2"), ("width", None)],
)
def test_a_damaged_embedding_is_refused(name: str, value: bytes | None) -> None:
    fields = codec.embedding_fields(EMBEDDING)
    fields.pop(name)
    if value is not None:
        fields[name] = value
    with pytest.raises(ValueError, match=r".+"):
        codec.embedding_of("d", fields)


@given(st.dictionaries(TEXTS, st.binary(max_size=50)))
def test_fields_come_back_as_they_were(fields: dict[str, bytes]) -> None:
    assert codec.fields_of(codec.fields_bytes(fields)) == fields


@given(st.dictionaries(TEXTS, st.binary(max_size=9), min_size=1), st.data())
def test_fields_that_are_cut_are_refused_or_fewer(
    fields: dict[str, bytes], data: st.DataObject
) -> None:
    raw = codec.fields_bytes(fields)
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    try:
        read = codec.fields_of(cut)
    except ValueError:
        return
    assert len(read) < len(fields)
    assert read.items() <= fields.items()


def test_a_vector_comes_back_bit_for_bit_and_another_models_is_refused() -> None:
    vector = np.array([0.1, -2.5, 1e-30], np.float32)
    assert codec.vector_of(codec.vector_bytes(vector), 3).tobytes() == vector.tobytes()
    for raw in (b"", b"123", codec.vector_bytes(vector), codec.vector_bytes(vector * np.nan)[:8]):
        with pytest.raises(ValueError, match=r".+"):
            codec.vector_of(raw, 2)
