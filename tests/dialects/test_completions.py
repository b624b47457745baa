"""Text completions: which requests use the cache, and an answer in either form."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import NotUnderstood
from app.core.models import Fullness
from tests.dialects.completions import COMPLETIONS, STREAMED, asked, read, replay


@given(COMPLETIONS, st.data())
def test_an_answer_survives_being_streamed_and_split_anywhere(
    document: dict[str, Any], data: st.DataObject
) -> None:
    body = replay(document, **STREAMED).body
    cut = data.draw(st.integers(0, len(body)))
    request = asked(n=len(document["choices"]), **STREAMED)
    told = read(request, body[:cut], body[cut:], is_stream=True)
    assert json.loads(told.content) == document


@given(COMPLETIONS)
def test_a_json_replay_is_the_answer_under_a_new_name(document: dict[str, Any]) -> None:
    envelope = {"id": "cmpl-new", "object": "text_completion", "created": 10}
    body = replay(document).body
    assert json.loads(body) == {**envelope, **document}
    request = asked(n=len(document["choices"]))
    assert json.loads(read(request, body, is_stream=False).content) == document


def test_the_tokens_of_each_piece_are_told_beside_it() -> None:
    tokens = ["word "] * 30
    logprobs = {"tokens": tokens, "text_offset": [*range(0, 150, 5)], "note": "n"}
    choice = {"index": 0, "text": "".join(tokens), "logprobs": logprobs, "finish_reason": "stop"}
    body = replay({"choices": [choice]}, stream=True).body.decode()
    chunks = [json.loads(e[6:])["choices"][0] for e in body.split("\n\n")[:-2]]
    assert len(chunks) > 1
    for chunk in chunks:
        assert "".join(chunk["logprobs"]["tokens"]) == chunk["text"]
        assert len(chunk["logprobs"]["text_offset"]) == len(chunk["logprobs"]["tokens"])
    assert [("note" in chunk["logprobs"]) for chunk in chunks].count(True) == 1


def answer(*reasons: str | None, text: str = "Hello", **fields: Any) -> bytes:
    choices = [
        {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
        for index, reason in enumerate(reasons)
    ]
    return json.dumps({"id": "cmpl-1", "choices": choices, **fields}).encode()


@pytest.mark.parametrize(
    ("request_fields", "body", "reason"),
    [
        ({}, answer("stop"), None),
        ({"n": 2}, answer("stop", "stop"), None),
        ({"prompt": ["a", "b"], "n": 2}, answer(*["stop"] * 4), None),
        ({"prompt": [1, 2, 3]}, answer("stop"), None),
        ({"prompt": [[1], [2, 3]]}, answer("stop", "stop"), None),
        ({"best_of": 3}, answer("stop"), None),
        ({"n": 2}, answer("stop"), "incomplete"),
        ({"prompt": ["a", "b"]}, answer("stop"), "incomplete"),
        ({}, answer("stop", "stop"), "incomplete"),
        ({}, answer(), "incomplete"),
        ({}, answer(None), "incomplete"),
        ({}, answer("length"), "finish-reason"),
        ({}, answer("content_filter"), "finish-reason"),
        ({"n": 2}, answer("stop", "length"), "finish-reason"),
        ({}, answer("stop", text=" \n"), "empty"),
        ({}, answer("stop", error={"message": "busy"}), "error"),
        ({}, b'{"choices": [{"index": 0, "message": {}}]}', "unknown-body"),
        ({}, b'{"choices": [{"index": 0, "text": "a", "finish_reason": {}}]}', "unknown-body"),
    ],
)
def test_only_complete_answers_are_stored(
    request_fields: dict[str, Any], body: bytes, reason: str | None
) -> None:
    assert read(asked(**request_fields), body, is_stream=False).unfit == reason


def chunk(**choice: Any) -> bytes:
    told = {"index": 0, "text": "a", "logprobs": None, "finish_reason": None, **choice}
    return b"data: " + json.dumps({"choices": [told]}).encode() + b"\n\n"


@pytest.mark.parametrize(
    "events",
    [
        [b'data: {"error": {}}\n\n'],
        [b'data: {"choices": [1]}\n\n'],
        [chunk(text=None)],
        [chunk(index="0")],
        [chunk(logprobs=[1])],
        [chunk(finish_reason="stop"), chunk(finish_reason="length")],
        [chunk(token_ids=[1]), chunk(token_ids=[2])],
        [chunk(logprobs={"note": 1}), chunk(logprobs={"note": 2})],
        [b'event: error\ndata: {"message": "busy"}\n\n'],
    ],
)
def test_a_stream_that_cannot_be_joined_without_loss_is_refused(events: list[bytes]) -> None:
    with pytest.raises(NotUnderstood):
        read(asked(stream=True), *events, is_stream=True)


def test_a_stream_that_was_cut_is_incomplete() -> None:
    assert read(asked(stream=True), chunk(), is_stream=True).unfit == "incomplete"


def test_a_stream_without_usage_is_for_those_who_asked_for_none() -> None:
    told = read(asked(stream=True), chunk(finish_reason="stop"), is_stream=True)
    assert (told.unfit, told.fullness) == (None, Fullness.PLAIN)


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({}, ["Hi"]),
        ({"echo": False, "suffix": "", "best_of": 2, "logprobs": 3}, ["Hi"]),
        ({"echo": True}, None),
        ({"suffix": "the end"}, None),
        ({"prompt": ["Hi"]}, None),
        ({"prompt": [1, 2]}, None),
        ({"prompt": [[1], [2]]}, None),
        ({"prompt": None}, None),
        ({"prompt": "Human: Hi\nAI:"}, None),
        ({"prompt": "<|im_start|>user\nHi"}, None),
        ({"prompt": "[INST] Hi [/INST]"}, None),
    ],
)
def test_a_prompt_that_is_one_text_is_matched_by_meaning(
    fields: dict[str, Any], texts: list[str] | None
) -> None:
    assert asked(**fields).texts == texts


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 1.0, "top_p": 1, "n": 1, "best_of": 1, "echo": False, "stop": None},
        {"presence_penalty": 0.0, "frequency_penalty": 0, "logit_bias": {}, "suffix": None},
        {"user": "u", "stream": True, "stream_options": {"include_usage": True}},
        {"max_tokens": None, "logprobs": None, "seed": None},
        {"prompt": "Ho"},
    ],
)
def test_what_cannot_change_the_answer_takes_no_part(fields: dict[str, Any]) -> None:
    assert asked(**fields).must_match == asked().must_match


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0},
        {"max_tokens": 5},
        {"logprobs": 0},
        {"best_of": 2},
        {"n": 2},
        {"stop": "a"},
        {"stop": ["a", "b"]},
        {"seed": 1},
        {"echo": True},
        {"suffix": "a"},
        {"guided_json": {}},
        {"prompt": [1, 2]},
        {"prompt": ["Hi"]},
        {"model": "n"},
    ],
)
def test_what_can_change_the_answer_takes_part(fields: dict[str, Any]) -> None:
    assert asked(**fields).must_match != asked().must_match


@pytest.mark.parametrize("end", [",", " ", "\n", ".", ":\n1."])
def test_how_a_prompt_ends_takes_part_for_the_answer_goes_on_from_there(end: str) -> None:
    told = asked(prompt=f"Once upon a time{end}")
    assert told.texts
    assert told.must_match != asked(prompt="Once upon a time").must_match
    assert told.must_match == asked(prompt=f"Now and then{end}").must_match


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("Flip a coin.", "Flip a coin."),
        (["Flip a coin."], "Flip a coin."),
        (["Flip a coin.", "Hi"], "Flip a coin.\nHi"),
        ([1, 2], ""),
        ([[1], [2]], ""),
        (None, ""),
    ],
)
def test_all_prompts_that_are_texts_are_the_question(prompt: Any, question: str) -> None:
    assert asked(prompt=prompt).question == question


def test_one_stop_is_written_in_two_ways() -> None:
    assert asked(stop="a").must_match == asked(stop=["a"]).must_match


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": []},
        {"prompt": {}},
        {"prompt": [1, "a"]},
        {"prompt": ["a", [1]]},
        {"prompt": [True]},
        {"model": None},
        {"model": 1},
        {"n": True},
        {"echo": "yes"},
        {"suffix": 1},
        {"stream": 1},
        {"temperature": "hot"},
    ],
)
def test_what_is_not_known_is_not_understood(fields: dict[str, Any]) -> None:
    with pytest.raises(NotUnderstood, match="unknown-body"):
        asked(**fields)


def test_a_temperature_above_the_limit_goes_past_the_cache() -> None:
    assert asked(temperature=1.5).bypass_reason(1.0) == "temperature"
    assert asked(temperature=1.0).bypass_reason(1.0) is None
