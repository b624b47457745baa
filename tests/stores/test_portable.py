import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.models import CacheKey, Embedding, StoredResponse
from app.core.tags import Tagging
from app.dialects.chat_completions.request import ChatCompletions
from app.stores.portable import Portable, cursor_line, line_of, portable_of
from tests.engine.toy_dialect import Toy
from tests.fakes import completion, embedding_of
from tests.stores.test_codec import LABELS

DIALECTS = {dialect.name: dialect for dialect in (ChatCompletions(), Toy())}
NOW = 1_700_000_000.0
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
ANSWERS = st.text(min_size=1).filter(lambda text: bool(text.strip()))
STORED = st.builds(
    StoredResponse,
    key=st.builds(CacheKey, partition=DIGESTS, digest=DIGESTS, text=st.text()),
    model=st.text(),
    content=ANSWERS.map(lambda text: json.dumps(completion(text)).encode()),
    stored_at=st.floats(0, NOW),
    freshness_lifetime=st.floats(0, 2_592_000),
    tagging=LABELS,
    is_disputed=st.booleans(),
)


def vector(numbers: list[float]) -> Embedding:
    raw = np.array(numbers, np.float32)
    return np.asarray(raw / np.linalg.norm(raw), np.float32)


VECTORS = st.lists(st.floats(0.125, 1, width=32), min_size=1, max_size=20).map(vector)


@given(STORED, st.none() | VECTORS)
def test_an_entry_comes_back_as_it_was(stored: StoredResponse, embedding: Embedding | None) -> None:
    line = line_of(Portable(stored, embedding, "model"))
    assert line.count(b"\n") == 1
    read = portable_of(line, NOW, DIALECTS)
    assert read is not None
    answer = json.loads(read.stored.content)
    assert answer == json.loads(stored.content)
    assert replace(read.stored, content=stored.content) == stored
    assert (read.embedding is None) == (embedding is None)
    if read.embedding is not None and embedding is not None:
        assert np.allclose(read.embedding, embedding, atol=1e-6)
        assert read.embedder == "model"


def document(**changes: Any) -> bytes:
    stored = StoredResponse(
        CacheKey("0" * 64, "1" * 64, "What?"),
        "m",
        json.dumps(completion()).encode(),
        NOW,
        60.0,
        tagging=Tagging("n", frozenset({"a"})),
    )
    told = json.loads(line_of(Portable(stored, embedding_of("what"), "fake")))
    return json.dumps({**told, **changes}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "2"},
        {"version": 1},
        {"id": "p1-a"},
        {"id": "A" * 64},
        {"id": None},
        {"partition": "1"},
        {"partition": "0" * 63 + "*"},
        {"prompt": None},
        {"model": ["m"]},
        {"created_at": "yesterday"},
        {"created_at": NOW},
        {"lifetime": "nan"},
        {"lifetime": "-1"},
        {"lifetime": "1e9"},
        {"stale": "-1"},
        {"stale": "1e300"},
        {"tags": ",".join(map(str, range(33)))},
        {"namespace": "n" * 257},
        {"response": None},
        {"response": "{}"},
        {"response": {}},
        {"response": {"choices": []}},
        {"response": {"choices": [1]}},
        {"response": completion("")},
        {"response": {**completion(), "error": {}}},
        {"dialect": "smoke signals"},
        {"dialect": "toy"},
        {"dialect": 1},
        {"embedding": "?"},
        {"embedding": "AAA="},
        {"embedding": ""},
        {"embedding": "AAAAAA=="},
        {"embedding": "AADAfw=="},
        {"embedding": [0.5]},
    ],
)
def test_what_could_not_be_an_entry_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+") as refused:
        portable_of(document(**changes), NOW, DIALECTS)
    assert "What" not in str(refused.value)


@pytest.mark.parametrize("line", [b"{", b"[]", b"1", b'{"id":1,"id":2}', b"\xff", b'{"a":NaN}'])
def test_what_is_no_json_object_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        portable_of(line, NOW, DIALECTS)


def test_a_line_that_tells_where_to_go_on_is_no_entry() -> None:
    assert portable_of(cursor_line("a-1"), NOW, DIALECTS) is None
    assert portable_of(cursor_line(None), NOW, DIALECTS) is None


def test_nothing_was_stored_in_the_future() -> None:
    read = portable_of(document(created_at=repr(NOW + 60)), NOW, DIALECTS)
    assert read is not None
    assert read.stored.stored_at == NOW


def test_an_answer_that_calls_a_tool_is_found_as_before() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    told = completion(None, tool_calls=[call])
    forced, free = (document(response=told, **more) for more in ({}, {"embedding": None}))
    assert (read := portable_of(forced, NOW, DIALECTS)) is not None
    assert read.embedding is not None
    assert (read := portable_of(free, NOW, DIALECTS)) is not None
    assert read.embedding is None


def test_fields_of_a_newer_version_are_ignored_and_older_lines_have_no_labels() -> None:
    told = json.loads(document(later="x"))
    for name in ("tags", "namespace"):
        del told[name]
    read = portable_of(json.dumps(told).encode(), NOW, DIALECTS)
    assert read is not None
    assert read.stored.tagging == Tagging()


def test_an_answer_of_another_dialect_is_judged_by_that() -> None:
    read = portable_of(document(dialect="toy", response={"say": "hi"}), NOW, DIALECTS)
    assert read is not None
    assert (read.stored.dialect, read.stored.content) == ("toy", b'{"say":"hi"}')


def test_the_answer_of_an_older_line_is_called_a_completion() -> None:
    told = json.loads(document())
    told["completion"] = told.pop("response")
    read = portable_of(json.dumps(told).encode(), NOW, DIALECTS)
    assert read is not None
    assert json.loads(read.stored.content) == completion()
