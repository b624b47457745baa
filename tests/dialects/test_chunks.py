import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import NotUnderstood
from app.dialects.chat_completions.chunks import CompletionBuilder, chunks_of
from app.dialects.chunked import without_envelope
from tests.fakes import completion
from tests.strategies import COMPLETIONS, TEXT

ENVELOPE = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "obfuscation": "x"}


def build(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    builder = CompletionBuilder()
    for chunk in chunks:
        builder.add({**ENVELOPE, **chunk})
    return builder.completion()


@given(COMPLETIONS)
def test_a_completion_survives_being_cut_into_chunks(stored: dict[str, Any]) -> None:
    assert build(list(chunks_of(stored, include_usage=True))) == stored


@given(COMPLETIONS)
def test_without_being_asked_only_the_usage_is_left_out(stored: dict[str, Any]) -> None:
    told = build(list(chunks_of(stored, include_usage=False)))
    assert told == {name: value for name, value in stored.items() if name != "usage"}


@given(TEXT)
def test_pieces_of_a_text_are_short_and_complete(text: str) -> None:
    stored = without_envelope(completion(text))
    pieces = [
        choice["delta"]["content"]
        for chunk in chunks_of(stored, include_usage=False)
        for choice in chunk["choices"]
        if choice["delta"].get("content")
    ]
    assert "".join(pieces) == text
    assert all(len(piece) <= 65 for piece in pieces)


@given(COMPLETIONS)
def test_each_piece_of_a_text_carries_the_logprobs_of_its_own_tokens(
    stored: dict[str, Any],
) -> None:
    chunks = [c for chunk in chunks_of(stored, include_usage=True) for c in chunk["choices"]]
    for choice in stored["choices"]:
        told = [c for c in chunks if c["index"] == choice["index"]]
        assert told[0]["logprobs"] is None
        tokens = (choice["logprobs"] or {}).get("content") or []
        text = choice["message"]["content"] or ""
        beside = [(c["logprobs"] or {}).get("content") or [] for c in told]
        assert [token for part in beside for token in part] == tokens
        if b"".join(bytes(token.get("bytes", ())) for token in tokens) == text.encode() and text:
            for c, part in zip(told, beside, strict=True):
                data = b"".join(bytes(token["bytes"]) for token in part)
                assert data.decode() == (c["delta"].get("content") or "")


@pytest.mark.parametrize("stream_order", [False, True])
def test_thoughts_are_told_before_the_text_and_calls_after_it(stream_order: bool) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    texts = {"content": "Hi", "reasoning_content": "Hm"}
    ordered = dict(reversed(texts.items())) if stream_order else texts
    message = {"role": "assistant", "tool_calls": [call, {**call, "id": "b"}], **ordered}
    stored = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    told = [chunk["choices"][0]["delta"] for chunk in chunks_of(stored, include_usage=False)]
    assert told[0] == {"role": "assistant", "content": "", "reasoning_content": ""}
    assert told[1:3] == [{"reasoning_content": "Hm"}, {"content": "Hi"}]
    assert [[c["id"], c["index"]] for d in told[3:5] for c in d["tool_calls"]] == [
        ["a", 0],
        ["b", 1],
    ]
    assert told[5:] == [{}]


@pytest.mark.parametrize("nothing", [None, []])
def test_what_is_no_call_is_told_as_it_is(nothing: object) -> None:
    message = {"role": "assistant", "content": "Hi", "tool_calls": nothing}
    stored = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    opening, *_ = chunks_of(stored, include_usage=False)
    assert opening["choices"][0]["delta"]["tool_calls"] == nothing


def test_usage_comes_last_in_a_chunk_without_choices() -> None:
    stored = without_envelope(completion())
    *rest, last = chunks_of(stored, include_usage=True)
    assert (last["choices"], last["usage"]) == ([], stored["usage"])
    assert all(chunk["usage"] is None for chunk in rest)


def test_usage_that_is_not_known_is_not_told() -> None:
    stored = {n: v for n, v in without_envelope(completion()).items() if n != "usage"}
    assert all("usage" not in chunk for chunk in chunks_of(stored, include_usage=True))


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": index, "delta": fields, "finish_reason": finish}


def test_interleaved_choices_are_told_apart() -> None:
    chunks = [
        {"choices": [delta(1, role="assistant", content="b"), delta(0, content="a")]},
        {"choices": [delta(0, content="A"), delta(1, content="B")]},
        {"choices": [delta(1, finish="stop"), delta(0, finish="stop")]},
    ]
    told = [(c["index"], c["message"]["content"]) for c in build(chunks)["choices"]]
    assert told == [(0, "aA"), (1, "bB")]


def test_fragments_of_parallel_tool_calls_find_their_call() -> None:
    first = {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}
    chunks = [
        {"choices": [delta(tool_calls=[first])]},
        {"choices": [delta(tool_calls=[{"index": 1, "function": {"arguments": '{"x"'}}])]},
        {"choices": [delta(tool_calls=[{**first, "index": 0, "id": "a"}])]},
        {"choices": [delta(tool_calls=[{"index": 1, "function": {"arguments": ":1}"}}])]},
        {"choices": [delta(finish="tool_calls")]},
    ]
    message = build(chunks)["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "g", "arguments": ""}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"x":1}'}},
    ]


def test_a_role_that_every_chunk_repeats_is_one_role() -> None:
    chunks = [{"choices": [delta(role="assistant", content=c)]} for c in ("a", "b")]
    assert build(chunks)["choices"][0]["message"] == {"role": "assistant", "content": "ab"}


def test_lists_grow_and_logprobs_with_them() -> None:
    chunks = [
        {"choices": [{**delta(content=t), "logprobs": {"content": [{"token": t}]}}]} for t in "ab"
    ]
    assert build(chunks)["choices"][0]["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}]}


def test_chunks_stay_as_they_were() -> None:
    chunks = [{"choices": [delta(notes=["a"], more={"x": "1"})]} for _ in range(2)]
    before = json.dumps(chunks)
    assert build(chunks)["choices"][0]["message"]["notes"] == ["a", "a"]
    assert json.dumps(chunks) == before


def test_a_long_stream_is_joined_in_time() -> None:
    builder = CompletionBuilder()
    logprobs = {"content": [{"token": "a"}]}
    begin = time.process_time()
    for _ in range(100_000):
        builder.add({"choices": [{**delta(content="some words "), "logprobs": logprobs}]})
    assert len(builder.completion()["choices"][0]["message"]["content"]) == 1_100_000
    assert time.process_time() - begin < 5  # it takes minutes where each chunk copies the text


def test_the_last_usage_that_is_told_counts() -> None:
    chunks: list[dict[str, Any]] = [
        {"choices": [delta(content="a", finish="stop")], "usage": {"total_tokens": 1}},
        {"choices": [], "usage": {"total_tokens": 2}},
        {"choices": [], "usage": None},
    ]
    assert build(chunks)["usage"] == {"total_tokens": 2}


@pytest.mark.parametrize(
    "chunks",
    [
        [{"error": {"message": "overloaded"}}],
        [{"choices": None}],
        [{"choices": ["text"]}],
        [{"choices": [{"delta": {}}]}],
        [{"choices": [delta(role="assistant")]}, {"choices": [delta(role="user")]}],
        [{"choices": [delta(content="a")]}, {"choices": [delta(content=["b"])]}],
        [{"choices": [delta(count=1)]}, {"choices": [delta(count=2)]}],
        [{"choices": [delta(tool_calls=["call"])]}],
        [{"choices": [delta(tool_calls=[{"index": 0}])]}, {"choices": [delta(tool_calls={})]}],
        [{"choices": [delta(tool_calls=[{"index": 0}])]}, {"choices": [delta(tool_calls=["a"])]}],
        [{"choices": [delta(x="a")]}, {"choices": [delta(x=["b"])]}],
        [{"choices": [delta(x={})]}, {"choices": [delta(x="b")]}],
        [{"choices": [delta(finish="length")]}, {"choices": [delta(finish="stop")]}],
        [{"choices": [delta(content="a")]}, {"choices": [{"index": 0, "message": {}}]}],
    ],
)
def test_what_cannot_be_joined_without_loss_is_refused(chunks: list[dict[str, Any]]) -> None:
    with pytest.raises(NotUnderstood, match=r"^unknown-body$"):
        build(chunks)


@given(st.lists(st.sampled_from(["a", "b c", "\n", ""])))
def test_how_a_text_was_cut_makes_no_difference(pieces: list[str]) -> None:
    chunks = [{"choices": [delta(content=piece)]} for piece in ["", *pieces]]
    assert build(chunks)["choices"][0]["message"]["content"] == "".join(pieces)
