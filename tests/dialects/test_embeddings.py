import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import NotUnderstood
from app.dialects.embeddings import (
    EmbeddingsAnswer,
    EmbeddingsRequest,
    Numbers,
    render,
    shares,
    usage_of,
)

SINGLES = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1)
DOUBLES = st.lists(st.floats(-3e38, 3e38), min_size=1)


def request(**fields: Any) -> EmbeddingsRequest:
    return EmbeddingsRequest.parse(json.dumps({"model": "m", **fields}).encode())


def answer(*embeddings: Any, **fields: Any) -> bytes:
    data = [{"object": "embedding", "index": i, "embedding": e} for i, e in enumerate(embeddings)]
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    document = {"object": "list", "data": data, "model": "m-1", "usage": usage}
    return json.dumps({**document, **fields}).encode()


def numbers_of(embedding: Any) -> Numbers:
    return EmbeddingsAnswer.parse(answer(embedding), 1).embeddings[0]


def singles(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def encoded(values: list[float]) -> str:
    return base64.b64encode(singles(*values)).decode()


@pytest.mark.parametrize(
    ("value", "inputs"),
    [
        ("text", ["text"]),
        ("", [""]),
        (["a", "b", "a"], ["a", "b", "a"]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_every_form_of_input_is_read(value: Any, inputs: list[Any]) -> None:
    assert request(input=value).inputs == inputs


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"input": None},
        {"input": []},
        {"input": [[]]},
        {"input": ["a", 1]},
        {"input": ["a", [1]]},
        {"input": [True]},
        {"input": [[True]]},
        {"input": [1.5]},
        {"input": [{"text": "a"}]},
        {"input": "a", "model": 1},
        {"input": "a", "encoding_format": "int8"},
    ],
)
def test_a_request_that_is_not_what_we_know_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(NotUnderstood, match="unknown-body"):
        request(**fields)


def test_the_body_for_a_part_keeps_all_other_fields() -> None:
    asked = request(input=["a", "b"], dimensions=7, encoding_format="base64", unknown={"é": 1})
    assert json.loads(asked.body_of(["b"])) == {**asked.document, "input": ["b"]}


@given(SINGLES)
def test_base64_comes_back_bit_for_bit_and_as_decimals_of_the_same_float32(
    values: list[float],
) -> None:
    numbers = numbers_of(encoded(values))
    told = json.loads(render([numbers], "base64", "m", {}))["data"][0]["embedding"]
    assert told == encoded(values)
    decimals = json.loads(render([numbers], "float", "m", {}))["data"][0]["embedding"]
    assert encoded(decimals) == encoded(values)


@given(SINGLES | DOUBLES)
def test_decimals_come_back_as_the_same_doubles_and_as_the_base64_of_their_float32(
    values: list[float],
) -> None:
    numbers = numbers_of(values)
    told = json.loads(render([numbers], "float", "m", {}))["data"][0]["embedding"]
    assert [x.hex() for x in told] == [x.hex() for x in values]
    coded = json.loads(render([numbers], "base64", "m", {}))["data"][0]["embedding"]
    assert coded == encoded(values)


def test_decimals_of_float32_take_four_bytes_and_others_eight() -> None:
    assert numbers_of([0.1, -0.25, 1e-7]) == Numbers(singles(0.1, -0.25, 1e-7), 4)
    assert numbers_of([0.1, 0.10000000149011612]).width == 8


def test_embeddings_are_put_in_the_order_of_their_indexes() -> None:
    items = [{"index": 1, "embedding": [0.5]}, {"index": 0, "embedding": [0.25]}]
    parsed = EmbeddingsAnswer.parse(answer(data=items), 2)
    assert [numbers.raw for numbers in parsed.embeddings] == [
        singles(value) for value in (0.25, 0.5)
    ]
    assert (parsed.model, parsed.usage) == ("m-1", {"prompt_tokens": 3, "total_tokens": 3})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"data": {}}',
        answer(),
        answer([0.5], [0.5]),
        answer([]),
        answer(""),
        answer("not base64!"),
        answer(base64.b64encode(b"12345").decode()),
        answer(base64.b64encode(singles(np.nan)).decode()),
        answer([0.5, None]),
        answer([True]),
        answer([1e39]),
        answer([10**400]),
        answer({"0": 0.5}),
        answer([0.5], error={"message": "no"}),
        answer([0.5], model=None),
        answer(data=[{"index": 1, "embedding": [0.5]}]),
        answer(data=[{"index": True, "embedding": [0.5]}]),
        answer(data=[None]),
        answer([0.5]).replace(b"0.5", b"NaN"),
    ],
)
def test_an_answer_that_is_not_what_we_know_is_refused(body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        EmbeddingsAnswer.parse(body, 1)


def test_embeddings_of_different_lengths_are_refused() -> None:
    with pytest.raises(NotUnderstood):
        EmbeddingsAnswer.parse(answer([0.5], [0.5, 0.25]), 2)


def test_what_else_an_item_holds_is_noticed() -> None:
    item = {"object": "embedding", "index": 0, "embedding": [0.5]}
    assert EmbeddingsAnswer.parse(answer(data=[item]), 1).is_all
    assert not EmbeddingsAnswer.parse(answer(data=[{**item, "sparse": {}}]), 1).is_all


def test_an_answer_of_too_many_parts_is_not_understood() -> None:
    with pytest.raises(NotUnderstood, match=r"^too-complex$"):
        EmbeddingsAnswer.parse(b'{"data":[' + b"{}," * 60_000 + b"{}]}", 1)


def test_more_inputs_than_are_asked_for_at_once_are_not_read() -> None:
    with pytest.raises(NotUnderstood, match=r"^too-complex$"):
        EmbeddingsRequest.parse(json.dumps({"model": "m", "input": ["a"] * 4097}).encode())
    tokens = [*range(100_000)]
    assert EmbeddingsRequest.parse(json.dumps({"model": "m", "input": tokens}).encode()).inputs


INPUTS = st.lists(st.text(max_size=30)) | st.lists(st.lists(st.integers(0, 9), min_size=1))


@given(INPUTS.filter(bool), st.integers(0, 2**40))
def test_what_was_counted_for_all_is_the_sum_of_the_shares(inputs: Any, counted: int) -> None:
    told = {"prompt_tokens": counted, "total_tokens": counted}
    assert usage_of(shares(inputs, told)) == told


@pytest.mark.parametrize("usage", [None, {}, {"total_tokens": "3"}, {"total_tokens": -1}])
def test_what_was_not_counted_has_no_share_and_counts_as_nothing(usage: Any) -> None:
    assert shares(["a", "b"], usage) == [None, None]
    assert usage_of([None, 2.4, 2.4]) == {"prompt_tokens": 5, "total_tokens": 5}
