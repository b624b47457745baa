from typing import Any

import pytest

from app.dialects.chat_completions import fitness
from app.dialects.chat_completions.structured import structure_of
from app.dialects.chunked import without_envelope
from app.dialects.structure import Structure
from tests.fakes import completion

TOOL_CALLS = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def answer(content: object = "Hi!", finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    document = without_envelope(completion())
    document["choices"] = [
        {
            "index": 0,
            "message": {"role": "assistant", "content": content, **message},
            "finish_reason": finish,
        }
    ]
    return document


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (answer(), None),
        (answer(None, "tool_calls", tool_calls=TOOL_CALLS), None),
        (answer("", "stop", tool_calls=TOOL_CALLS), None),
        (answer(None, "function_call", function_call={"name": "f"}), None),
        (answer([{"type": "text", "text": "Hi!"}]), None),
        (answer(finish=None), "incomplete"),
        (answer(finish="length"), "finish-reason"),
        (answer(finish="content_filter"), "finish-reason"),
        (answer(finish="insufficient_system_resource"), "finish-reason"),
        (answer(finish="tool_calls"), "incomplete"),
        (answer(None, "tool_calls", tool_calls=[]), "incomplete"),
        (answer(""), "empty"),
        (answer(" \n"), "empty"),
        (answer(None), "empty"),
        (answer([]), "empty"),
        (answer(None, reasoning_content="Well…"), "empty"),
        (answer(refusal="I cannot."), "refusal"),
        (answer(None, refusal="I cannot."), "refusal"),
        (answer(None, "tool_calls", tool_calls=TOOL_CALLS, refusal="No."), "refusal"),
        (answer(None, audio={"id": "a"}), "audio"),
        ({**answer(), "error": {"message": "late"}}, "error"),
        ({**answer(), "choices": [{**answer()["choices"][0], "error": {"code": 502}}]}, "error"),
        ({**answer(), "choices": []}, "incomplete"),
        ({**answer(), "choices": [answer()["choices"][0]] * 2}, "incomplete"),
        ({**answer(), "choices": None}, "unknown-body"),
        ({**answer(), "choices": ["Hi!"]}, "unknown-body"),
        ({**answer(), "choices": [{"index": 0, "finish_reason": "stop"}]}, "unknown-body"),
        ({**answer(), "choices": [{"index": "0", "message": {}}]}, "unknown-body"),
        ({}, "unknown-body"),
    ],
)
def test_only_complete_answers_are_stored(document: dict[str, Any], reason: str | None) -> None:
    assert fitness.why_not_stored(document, 1) == reason


F: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
G: dict[str, Any] = {"type": "function", "function": {"name": "g"}}
CUSTOM = {"type": "custom", "custom": {"name": "f"}}
FORCED = Structure(forced="f")


def allowed(mode: str, *tools: dict[str, Any]) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}


JSON_ONLY = Structure(is_json=True)
NEEDY = Structure(demanding=frozenset(["f"]))


def calls(*arguments: object, **fields: Any) -> dict[str, Any]:
    told = [{"id": "c", "function": {"name": "f", "arguments": a}, **fields} for a in arguments]
    return answer(None, "tool_calls", tool_calls=told)


@pytest.mark.parametrize(
    ("document", "structure", "is_broken"),
    [
        (answer('{"a": 1}'), JSON_ONLY, False),
        (answer(' \n[1, 2.5e3, "\\u00e9"]\n'), JSON_ONLY, False),
        (
            answer([{"type": "text", "text": '{"a"'}, {"type": "text", "text": ":1}"}]),
            JSON_ONLY,
            False,
        ),
        (answer('{"a": ' + "9" * 5000 + "}"), JSON_ONLY, False),
        (answer("Here it is: {}"), JSON_ONLY, True),
        (answer("```json\n{}\n```"), JSON_ONLY, True),
        (answer('{"a": NaN}'), JSON_ONLY, True),
        (answer('{"a": 1}{"a": 2}'), JSON_ONLY, True),
        (answer('{"a": 1'), JSON_ONLY, True),
        (answer("[" * 100_000), JSON_ONLY, True),
        (answer([{"type": "text", "text": "No."}]), JSON_ONLY, True),
        (answer("No."), Structure(), False),
        (answer("Let me see.", "tool_calls", tool_calls=TOOL_CALLS), JSON_ONLY, False),
        (calls('{"path":"/etc/hosts"}'), Structure(), False),
        (calls('{"path":"/etc/ho'), Structure(), True),
        (calls('{"a":1}{"a":2}'), Structure(), True),
        (calls("{}", '{"a"'), Structure(), True),
        (calls("", None, {"a": 1}), Structure(), False),
        (calls(""), NEEDY, True),
        (calls("{}"), NEEDY, False),
        (
            answer(None, "function_call", function_call={"name": "f", "arguments": "{"}),
            Structure(),
            True,
        ),
        (answer(None, "function_call", function_call={"name": "f"}), NEEDY, True),
        (
            answer(
                None,
                "tool_calls",
                tool_calls=[
                    {"id": "c", "type": "custom", "custom": {"name": "f", "input": "ls -l"}}
                ],
            ),
            NEEDY,
            False,
        ),
    ],
)
def test_what_must_be_json_and_is_not_is_not_stored(
    document: dict[str, Any], structure: Structure, is_broken: bool
) -> None:
    expected = "invalid-json" if is_broken else None
    assert fitness.why_not_stored(document, 1, structure) == expected


def test_every_choice_that_must_be_json_is_read() -> None:
    choices = [answer("{}")["choices"][0], {**answer("{")["choices"][0], "index": 1}]
    assert fitness.why_not_stored({"choices": choices}, 2, JSON_ONLY) == "invalid-json"


@pytest.mark.parametrize(
    ("fields", "structure"),
    [
        ({}, Structure()),
        ({"response_format": {"type": "text"}}, Structure()),
        ({"response_format": {"type": "json_object"}}, JSON_ONLY),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, JSON_ONLY),
        ({"response_format": "json", "tools": "f", "functions": 1}, Structure()),
        ({"response_format": {"type": []}, "tools": [1, {}, {"function": 1}]}, Structure()),
        ({"tools": [{"function": {"name": "f", "parameters": {"required": ["a"]}}}]}, NEEDY),
        ({"functions": [{"name": "f", "parameters": {"required": ["a"]}}]}, NEEDY),
        ({"tools": [{"function": {"name": "f", "parameters": {"required": []}}}]}, Structure()),
        ({"tools": [{"function": {"name": 1, "parameters": {"required": ["a"]}}}]}, Structure()),
        ({"tools": [F, G], "tool_choice": F}, FORCED),
        ({"tools": [F], "tool_choice": "required"}, FORCED),
        ({"tools": [F, G], "tool_choice": "required"}, Structure()),
        ({"tools": [F], "tool_choice": "auto"}, Structure()),
        ({"tools": [F]}, Structure()),
        ({"tools": [CUSTOM], "tool_choice": "required"}, Structure()),
        ({"tools": [F, CUSTOM], "tool_choice": CUSTOM}, Structure()),
        ({"tools": [F, G], "tool_choice": allowed("required", F)}, FORCED),
        ({"tools": [F, G], "tool_choice": allowed("auto", F)}, Structure()),
        ({"tools": [F, G], "tool_choice": allowed("required", F, G)}, Structure()),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": 1}}, Structure()),
        ({"tool_choice": {"type": "function", "function": {"name": 1}}}, Structure()),
        ({"functions": [F["function"]], "function_call": {"name": "f"}}, FORCED),
        ({"functions": [F["function"]], "function_call": "auto"}, Structure()),
    ],
)
def test_what_a_request_says_of_the_structure_is_read(
    fields: dict[str, Any], structure: Structure
) -> None:
    assert structure_of(fields) == structure


def test_every_choice_that_was_asked_for_must_be_there() -> None:
    two = [{**answer()["choices"][0], "index": index} for index in (1, 0)]
    assert fitness.why_not_stored({"choices": two}, 2) is None
    assert fitness.why_not_stored({"choices": two}, 3) == "incomplete"
    assert fitness.why_not_stored({"choices": two[:1]}, 2) == "incomplete"


@pytest.mark.parametrize("asked", [-1, 0, 2, 10**12])
def test_how_many_were_asked_for_costs_nothing_and_empties_nothing(asked: int) -> None:
    assert fitness.why_not_stored(answer(), asked) == "incomplete"
    assert fitness.why_not_stored({"choices": []}, asked) == "incomplete"


def test_one_bad_choice_spoils_the_answer() -> None:
    bad = {**answer(finish="length")["choices"][0], "index": 1}
    assert fitness.why_not_stored({"choices": [*answer()["choices"], bad]}, 2) == "finish-reason"


@pytest.mark.parametrize(
    ("document", "exact_only"),
    [
        (answer(), False),
        (answer("", tool_calls=TOOL_CALLS), True),
        (answer(None, "function_call", function_call={"name": "f"}), True),
        (answer(tool_calls=[]), False),
    ],
)
def test_an_answer_that_calls_a_tool_serves_the_same_question_only(
    document: dict[str, Any], exact_only: bool
) -> None:
    assert fitness.is_exact_only(document) is exact_only


@pytest.mark.parametrize(
    ("document", "exact_only"),
    [
        (answer("No."), False),
        (answer(None, "stop", tool_calls=[F]), False),
        (answer(None, tool_calls=[F, F]), False),
        (answer(None, "function_call", function_call={"name": "f"}), False),
        (answer(None, tool_calls=[G]), True),
        (answer(None, tool_calls=[F, G]), True),
        (answer(None, tool_calls=[F, CUSTOM]), True),
        (answer(None, tool_calls=[F, 1]), True),
        (answer(None, tool_calls=F), True),
        (answer(None, "function_call", function_call={"name": "g"}), True),
    ],
)
def test_a_call_that_was_forced_serves_whoever_asks_the_like(
    document: dict[str, Any], exact_only: bool
) -> None:
    assert fitness.is_exact_only(document, FORCED) is exact_only
