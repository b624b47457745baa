"""Reading a Responses request: which parts must match, and which requests bypass the cache."""

import json
from typing import Any

import pytest

from app.core.errors import NotUnderstood
from app.core.models import ClientRequest
from app.dialects.responses.deletion import deleted_response
from app.dialects.responses.request import ResponsesRequest

USER = {"role": "user", "content": "What is Valkey?"}
SYSTEM = {"role": "developer", "content": "Be brief."}
FUNCTION = {"type": "function", "name": "f", "parameters": {}}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "1"}
IMAGE = {"type": "input_image", "image_url": "data:"}
SOUND = {"type": "input_audio", "input_audio": {}}


def text(value: str, kind: str = "input_text", **fields: Any) -> dict[str, Any]:
    return {"type": kind, "text": value, **fields}


def asked(told: Any = "What is Valkey?", **fields: Any) -> ResponsesRequest:
    """Parse a request. It asks the upstream not to store the response, unless `fields` say so."""
    body = {"model": "m", "input": told, "store": False, **fields}
    return ResponsesRequest.parse(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("told", "texts"),
    [
        ("What is Valkey?", ["What is Valkey?"]),
        ([USER], ["What is Valkey?"]),
        ([{**USER, "type": "message"}], ["What is Valkey?"]),
        ([SYSTEM, USER], ["What is Valkey?"]),
        ([USER, SYSTEM], ["What is Valkey?"]),
        ([{**USER, "content": [text("a"), text("b")]}], ["a", "b"]),
        ([{**USER, "content": [text("a"), IMAGE]}], None),
        ([{**USER, "content": []}], None),
        ([{**USER, "role": "assistant"}], None),
        ([USER, CALL, RESULT], None),
        ([USER, {"type": "item_reference", "id": "msg_1"}], None),
        ([SYSTEM], None),
        ([], None),
        ("", None),
    ],
)
def test_the_text_of_the_last_user_message_may_match_by_meaning(told: Any, texts: Any) -> None:
    assert asked(told).texts == texts


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_1"},
        {"input": [{"type": "item_reference", "id": "msg_1"}, USER]},
        {"input": [{"type": "compaction", "encrypted_content": "gAAA"}, USER]},
    ],
)
def test_what_goes_on_from_turns_that_are_not_told_matches_exactly(fields: dict[str, Any]) -> None:
    body = json.dumps({"model": "m", "input": [USER], "store": False, **fields}).encode()
    assert ResponsesRequest.parse(body).texts is None
    assert ResponsesRequest.parse(body, by_meaning=True).texts == ["What is Valkey?"]


def test_what_the_upstream_stores_matches_exactly_unless_the_operator_says_otherwise() -> None:
    for fields in ({}, {"store": True}, {"store": None}):
        body = json.dumps({"model": "m", "input": "hi", **fields}).encode()
        assert ResponsesRequest.parse(body).texts is None
        assert ResponsesRequest.parse(body, by_meaning=True).texts == ["hi"]
    assert asked(moderation={"model": "m"}).texts is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"told": [USER]}, {"told": "What is Valkey?"}),
        ({"told": [{**USER, "content": [text("x")]}]}, {"told": "y"}),
        ({"told": [{**USER, "type": "message", "id": "msg_1", "status": "completed"}]}, {}),
        ({"told": [USER, {**CALL, "id": "fc_1"}, RESULT]}, {"told": [USER, CALL, RESULT]}),
        (
            {"told": [USER, CALL, RESULT]},
            {"told": [USER, {**CALL, "call_id": "c"}, {**RESULT, "call_id": "c"}]},
        ),
        (
            {
                "told": [
                    {"role": "assistant", "content": [text("a", "output_text", annotations=[])]},
                    USER,
                ]
            },
            {"told": [{"role": "assistant", "content": "a", "id": "msg_2"}, USER]},
        ),
        (
            {"told": [{"type": "reasoning", "id": "a", "summary": [], "encrypted_content": "x"}]},
            {"told": [{"type": "reasoning", "id": "b", "summary": [], "encrypted_content": "x"}]},
        ),
        ({"store": None}, {"store": True}),
        ({"stream": True, "stream_options": {}, "user": "ann", "metadata": {"a": "b"}}, {}),
        ({"safety_identifier": "a", "prompt_cache_key": "k", "service_tier": "flex"}, {}),
        ({"temperature": 1.0, "top_p": 1, "truncation": "disabled", "tools": []}, {}),
        ({"text": {"format": {"type": "text"}, "verbosity": None}, "reasoning": {}}, {}),
        ({"tool_choice": "auto", "parallel_tool_calls": True, "instructions": None}, {}),
        ({"include": ["b", "a"]}, {"include": ["a", "b"]}),
    ],
)
def test_what_means_the_same_to_the_api_matches(one: Any, other: Any) -> None:
    assert asked(**one).must_match == asked(**other).must_match


@pytest.mark.parametrize(
    "fields",
    [
        {"told": [SYSTEM, USER]},
        {"told": [{**USER, "role": "developer"}]},
        {"told": [{**USER, "content": [text("a"), text("b")]}]},
        {"told": [USER, {"type": "reasoning", "id": "rs_1", "summary": []}]},
        {"told": [USER, {"type": "item_reference", "id": "msg_1"}]},
        {"instructions": "Be brief."},
        {"previous_response_id": "resp_1"},
        {"include": ["message.output_text.logprobs"]},
        {"max_output_tokens": 5},
        {"reasoning": {"effort": "low"}},
        {"text": {"format": {"type": "json_object"}}},
        {"text": {"verbosity": "low"}},
        {"tools": [FUNCTION]},
        {"tool_choice": "none"},
        {"truncation": "auto"},
        {"parallel_tool_calls": False},
        {"temperature": 0},
        {"store": True},
        {"model": "n"},
        {"unheard_of": 1},
    ],
)
def test_what_can_change_the_answer_must_match(fields: Any) -> None:
    assert asked(**fields).must_match != asked().must_match


def test_ids_of_items_that_the_upstream_keeps_take_part() -> None:
    for kind in ("item_reference", "reasoning"):
        one, other = (asked([{"type": kind, "id": name}, USER]) for name in "ab")
        assert one.must_match != other.must_match


def test_the_id_of_a_call_that_a_text_speaks_of_takes_part() -> None:
    told = [CALL, RESULT, {**USER, "content": "Undo call_1"}]
    renamed = [{**CALL, "call_id": "x"}, {**RESULT, "call_id": "x"}, told[-1]]
    assert asked(told, store=True).must_match != asked(renamed, store=True).must_match


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"background": False, "conversation": None, "prompt": None, "tools": None}, None),
        ({"tools": [FUNCTION, {"type": "custom", "name": "run"}]}, None),
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1", "version": "2"}, "told": None}, "prompt"),
        ({"modalities": ["text", "audio"]}, "audio"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"told": [{**USER, "content": [SOUND]}]}, "audio"),
        ({"told": [USER, {"type": "additional_tools", "tools": [{"type": "mcp"}]}]}, "hosted-tool"),
        ({"temperature": 1.5}, "temperature"),
        *(
            ({"tools": [FUNCTION, {"type": kind}]}, "hosted-tool")
            for kind in (
                *("web_search", "web_search_preview", "file_search", "code_interpreter", "mcp"),
                *("computer_use_preview", "image_generation", "local_shell", "shell"),
                *("apply_patch", "what_comes_next"),
            )
        ),
    ],
)
def test_what_looks_at_the_world_or_runs_for_long_goes_past_the_cache(
    fields: Any, reason: str | None
) -> None:
    assert asked(**fields).bypass_reason(1.0) == reason


@pytest.mark.parametrize(
    "fields",
    [
        {"model": None},
        {"model": 1},
        {"told": 1},
        {"told": ["hi"]},
        {"told": [{"role": "user"}]},
        {"told": [{"content": "hi"}]},
        {"told": [{"type": 1}]},
        {"told": [{**USER, "content": ["hi"]}]},
        {"told": [{**USER, "content": [{"text": "hi"}]}]},
        {"store": "no"},
        {"stream": 1},
        {"temperature": "hot"},
        {"tools": {}},
        {"tools": [{}]},
    ],
)
def test_what_is_no_request_is_not_understood(fields: Any) -> None:
    with pytest.raises(NotUnderstood) as unknown:
        asked(**fields)
    assert unknown.value.detail == "unknown-body"


@pytest.mark.parametrize(
    ("told", "fields", "said"),
    [
        ("hi", {}, []),
        ("hi", {"instructions": "Proofread."}, ["Proofread."]),
        (
            [{"role": "system", "content": "Proofread."}, {"role": "user", "content": "hi"}],
            {},
            ["Proofread."],
        ),
        (
            [
                {"role": "developer", "content": [text("Proofread.")]},
                {"role": "user", "content": "a"},
            ],
            {},
            ["Proofread."],
        ),
        (
            [
                {"role": "user", "content": "Proofread."},
                {"role": "assistant", "content": "Yes."},
                {"role": "user", "content": "hi"},
            ],
            {},
            ["Proofread."],
        ),
    ],
)
def test_what_is_to_be_done_with_the_turn_is_told(told: Any, fields: Any, said: list[str]) -> None:
    assert asked(told, **fields).instructions == said


@pytest.mark.parametrize(
    ("told", "question"),
    [
        ("Now?", "Now?"),
        ([USER, CALL, RESULT], ""),
        ([USER, SYSTEM], "What is Valkey?"),
        ([{**USER, "content": [text("Who is in it today?"), IMAGE]}], "Who is in it today?"),
    ],
)
def test_the_question_is_the_users_unless_a_tool_has_answered(told: Any, question: str) -> None:
    assert asked(told).question == question


@pytest.mark.parametrize(
    ("options", "takes_part"),
    [
        ({"mode": "explicit", "ttl": "12h"}, False),
        ({"prewarm": False, "comparison_response_id": None}, False),
        ({"prewarm": True}, True),
        ({"comparison_response_id": "resp_1"}, True),
    ],
)
def test_options_of_the_upstreams_own_cache_take_part_where_they_change_the_answer(
    options: dict[str, Any], takes_part: bool
) -> None:
    told = asked(prompt_cache_options=options).must_match
    assert (told != asked().must_match) is takes_part


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("DELETE", b"/responses/resp_1", "resp_1"),
        ("DELETE", b"/responses/resp%5F1", "resp_1"),
        ("DELETE", b"/%72esponses/resp_1", "resp_1"),
        ("GET", b"/responses/resp_1", None),
        ("DELETE", b"/responses/", None),
        ("DELETE", b"/responses/resp_1/items", None),
        ("DELETE", b"/files/resp_1", None),
    ],
)
def test_a_deletion_names_a_response(method: str, path: bytes, name: str | None) -> None:
    assert deleted_response(ClientRequest(method, path, b"", [])) == name
