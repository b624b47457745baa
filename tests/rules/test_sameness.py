"""Requests that mean the same by the API's definition have the same key."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.models import CacheKey, ClientRequest
from app.dialects.chat_completions.request import ChatRequest
from app.rules.key import KeyRules, build_key

RULES = KeyRules("https://upstream.test/v1")
TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}


def key_of(messages: Any = (), **fields: Any) -> CacheKey:
    told = messages or [{"role": "user", "content": "What is Valkey?"}]
    raw = json.dumps({"model": "m", "messages": told, **fields}).encode()
    request = ClientRequest("POST", b"/chat/completions", b"", [], raw)
    return build_key(request, ChatRequest.parse(raw), RULES)


@pytest.mark.parametrize(
    "spelled_out",
    [
        {"temperature": 1},
        {"temperature": 1.0},
        {"temperature": None},
        {"top_p": 1},
        {"top_p": 1.0},
        {"top_p": None},
        {"n": 1},
        {"n": None},
        {"tools": []},
        {"tools": None},
        {"stop": []},
        {"stop": None},
        {"store": False},
        {"store": None},
        {"presence_penalty": 0},
        {"presence_penalty": 0.0},
        {"frequency_penalty": 0},
        {"frequency_penalty": None},
        {"logit_bias": {}},
        {"logit_bias": None},
        {"logprobs": False},
        {"logprobs": None},
        {"parallel_tool_calls": True},
        {"tool_choice": "none"},
        {"function_call": "none", "functions": []},
        {"response_format": {"type": "text"}},
        {"modalities": ["text"]},
        {"verbosity": "medium"},
        {"seed": None, "max_tokens": None, "max_completion_tokens": None, "top_logprobs": None},
        {"prompt_cache_retention": "24h"},
        {"prompt_cache_options": {"mode": "explicit"}},
    ],
)
def test_a_default_that_is_spelled_out_is_the_same(spelled_out: dict[str, Any]) -> None:
    assert key_of(**spelled_out) == key_of()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"tool_choice": "auto"}, {}),
        ({"tool_choice": "auto", "parallel_tool_calls": True}, {}),
        ({"tools": [{**TOOL, "function": {**TOOL["function"], "strict": False}}]}, {}),  # type: ignore[dict-item]
    ],
)
def test_with_tools_the_defaults_are_others(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key_of(**{"tools": [TOOL], **one}) == key_of(**{"tools": [TOOL], **other})
    assert key_of(tools=[TOOL], tool_choice="none") != key_of(tools=[TOOL])
    assert key_of(tool_choice="auto") != key_of()
    assert key_of(tools=[TOOL]) != key_of()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"stop": "\n"}, {"stop": ["\n"]}),
        ({"temperature": 0}, {"temperature": 0.0}),
        (
            {"response_format": SCHEMA},
            {
                "response_format": {
                    **SCHEMA,
                    "json_schema": {"name": "a", "schema": {}, "strict": False},
                }
            },
        ),
    ],
)
def test_two_ways_to_write_a_thing_are_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key_of(**one) == key_of(**other) != key_of()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"n": 1}, {"n": 2}),
        ({"logprobs": 0}, {"logprobs": False}),
        ({"top_k": None}, {}),
        ({"min_p": 0}, {}),
        ({"reasoning_effort": "medium"}, {}),
        ({"stop": ""}, {}),
        ({"parallel_tool_calls": False}, {}),
        ({"response_format": {"type": "text", "a": 1}}, {}),
    ],
)
def test_what_the_api_does_not_call_the_same_is_not(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert key_of(**one) != key_of(**other)


def text_part(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **fields}


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
def test_a_string_and_one_text_part_are_the_same(role: str) -> None:
    for place in (0, 1):
        told: list[Any] = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
        keys = []
        for content in ("c", [text_part("c")], [text_part("c", prompt_cache_breakpoint={})]):
            told[place] = {"role": role, "content": content}
            keys.append(key_of(told))
        assert keys[0] == keys[1] == keys[2]
        told[place] = {"role": role, "content": [text_part("c"), text_part("")]}
        assert key_of(told) not in keys


def test_fields_of_a_message_that_are_null_are_absent() -> None:
    end = {"role": "user", "content": "b"}
    said = {"role": "assistant", "content": "a"}
    full = {**said, "refusal": None, "audio": None, "function_call": None, "tool_calls": None}
    assert key_of([full, end]) == key_of([{**said, "tool_calls": []}, end]) == key_of([said, end])
    assert key_of([{**said, "refusal": "a"}, end]) != key_of([said, end])


def history(*ids: str, results: Any = (), text: str = "And?", **fields: Any) -> CacheKey:
    """Return the key of a request with tool calls, all in one message, and their results."""
    calls = [
        {"id": name, "type": "function", "function": {"name": "f", "arguments": f"[{number}]"}}
        for number, name in enumerate(ids)
    ]
    told = [
        {"role": "tool", "tool_call_id": name, "content": f"result {number}"}
        for number, name in enumerate(results or ids)
    ]
    end = {"role": "user", "content": text}
    return key_of(
        [{"role": "assistant", "content": None, "tool_calls": calls}, *told, end], **fields
    )


def test_ids_of_calls_count_only_as_what_they_link() -> None:
    told = history("call_a", "call_b")
    assert told == history("call_b", "call_a") == history("functions.f:0", "functions.f:1")
    assert told != history("call_a", "call_b", results=["call_b", "call_a"])
    assert told != history("call_a", "call_a")
    assert told != history("call_a", "call_b", results=["call_a", "call_c"])
    assert history("call_a").text == "And?"


def test_an_id_that_a_text_speaks_of_counts_as_it_is() -> None:
    told = [
        history(*ids, text="What did call_a give?") for ids in (("call_a", "b"), ("b", "call_a"))
    ]
    assert told[0] != told[1]


@given(st.lists(st.text("ab", max_size=2), min_size=1, max_size=4), st.permutations("ab"))
def test_other_names_for_the_same_links_are_the_same(ids: list[str], letters: list[str]) -> None:
    other = [name.translate(str.maketrans("ab", "".join(letters))) + "_" for name in ids]
    assert (history(*[f"{name}_" for name in ids]) == history(*other)) is True
