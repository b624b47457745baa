"""Logs in many formats, read line by line."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import BadInput
from app.core.models import Usage
from app.tools.exchange import Exchange
from app.tools.jsonl import read_lines
from app.tools.traffic import read_exchange, read_traffic
from app.upstream.prices import ListPrices

LOGS = Path(__file__).parent / "logs"
CHAT = "/v1/chat/completions"
ASKED = [{"role": "user", "content": "What is Valkey?"}]
SAID = {"role": "assistant", "content": "A store."}
USAGE = {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "m-1",
    "choices": [{"index": 0, "message": SAID, "finish_reason": "stop"}],
    "usage": USAGE,
}


def read(document: dict[str, Any]) -> Exchange:
    found = read_exchange(document)
    assert isinstance(found, Exchange), found
    return found


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": ASKED, **fields}


@pytest.mark.parametrize(
    "line",
    [
        {"request": body(stream=True, stream_options={}), "response": ANSWER},
        {"request": body(), "response": ANSWER, "url": "/v1/chat/completions"},
        {"body": body(), "response": {"status_code": 200, "body": ANSWER}, "url": CHAT},
        {"request": {"url": CHAT, "body": body()}, "response": ANSWER},
        {"request": body(), "response": ANSWER, "route": "/openai/deployments/d/chat/completions"},
    ],
)
def test_bodies_of_the_api_are_taken_as_they_are(line: dict[str, Any]) -> None:
    found = read(line)
    assert (found.path, found.body, found.answer) == (CHAT, body(), ANSWER)
    assert (found.at, found.usage) == (1_700_000_000.0, Usage(4, 3))


@pytest.mark.parametrize(
    ("path", "request_", "answer"),
    [
        ("/v1/embeddings", {"model": "e", "input": "a"}, {"data": []}),
        ("/v1/responses", {"model": "m", "input": "a"}, {"output": [], "created_at": 5}),
        ("/v1/messages", {"model": "m", "messages": ASKED}, {"content": []}),
    ],
)
def test_bodies_of_any_cached_route_are_read(path: str, request_: Any, answer: Any) -> None:
    found = read({"request": request_, "response": answer, "url": path})
    assert (found.path, found.body, found.answer) == (path, request_, answer)


def test_a_line_may_say_who_asked_when_and_for_how_long() -> None:
    told = {"time": 5, "latency_ms": 1500, "key": "sk-a", "namespace": "n"}
    found = read({"request": body(), "response": ANSWER, **told})
    assert (found.at, found.seconds, found.caller, found.namespace) == (5.0, 1.5, "sk-a", "n")


def test_a_conversation_ends_with_its_answer() -> None:
    found = read({"messages": [*ASKED, SAID], "time": "2023-11-14T22:13:20Z"})
    assert found.body == {"model": "unknown", "messages": ASKED}
    assert (found.said, found.at) == ("A store.", 1_700_000_000.0)
    assert read({"messages": ASKED}).answer is None


@pytest.mark.parametrize("name", ["answer", "response", "completion"])
def test_a_prompt_may_have_an_answer(name: str) -> None:
    found = read({"prompt": "What is Valkey?", name: "A store.", "model": "m", "user": "ann"})
    assert found.body == body(user="ann")
    assert (found.prompt, found.said) == ("What is Valkey?", "A store.")


LITELLM = {
    "call_type": "acompletion",
    "status": "success",
    "startTime": 1_700_000_000.5,
    "endTime": 1_700_000_002.0,
    "model": "openai/m",
    "model_group": "m",
    "messages": ASKED,
    "model_parameters": {"temperature": 0.5, "stream": True, "extra_body": {}},
    "end_user": "ann",
    "metadata": {"user_api_key_hash": "88dc28d0"},
    "response": ANSWER,
}


def test_litellms_payload_is_read() -> None:
    found = read(LITELLM)
    assert found.body == body(user="ann", temperature=0.5)
    assert (found.at, found.seconds, found.caller) == (1_700_000_000.5, 1.5, "88dc28d0")
    assert found.answer == ANSWER


def test_a_row_of_litellms_spend_logs_is_read() -> None:
    row = {
        "request_id": "chatcmpl-1",
        "call_type": "completion",
        "api_key": "88dc28d0",
        "startTime": "2023-11-14T22:13:20.500000Z",
        "endTime": "2023-11-14 22:13:22+00:00",
        "model": "m",
        "messages": json.dumps(ASKED),
        "response": json.dumps(ANSWER),
        "metadata": "{}",
    }
    found = read(row)
    assert (found.body, found.answer) == (body(), ANSWER)
    assert (found.at, found.seconds, found.caller) == (1_700_000_000.5, 1.5, "88dc28d0")


def test_a_log_that_litellm_has_written_is_read() -> None:
    traffic = read_traffic(LOGS / "litellm.jsonl")
    assert traffic.unusable == {"failed": 1}
    assert [(e.path, e.model, e.said, e.usage) for e in traffic.exchanges] == [
        (CHAT, "gpt-4o-mini", "A key-value store in memory.", Usage(10, 20)),
        (CHAT, "gpt-4o-mini", "An in-memory store of keys and values.", Usage(12, 9)),
        ("/v1/completions", "gpt-3.5-turbo-instruct", "Hi.", Usage(10, 20)),
    ]
    assert all(exchange.seconds for exchange in traffic.exchanges)


def test_a_log_of_litellms_proxy_is_read_whole() -> None:
    """tests/tools/logs/README.md describes how the log was made."""
    traffic = read_traffic(LOGS / "litellm_proxy.jsonl")
    assert traffic.unusable == {"failed": 2}
    text, vectors, responses = "/v1/completions", "/v1/embeddings", "/v1/responses"
    assert [(e.path, e.model, e.sold_as, e.usage) for e in traffic.exchanges] == [
        (CHAT, "gpt-4o-mini", "gpt-4o-mini", Usage(6, 40)),
        (CHAT, "gpt-4o-mini", "gpt-4o-mini", Usage(6, 40)),
        (CHAT, "gpt-4o-mini", "gpt-4o-mini", Usage(10, 40)),
        (CHAT, "gpt-4o", "gpt-4o", Usage(6, 40)),
        (CHAT, "gpt-4o", "gpt-4o", Usage(6, 40)),
        (CHAT, "claude-sonnet", "claude-sonnet-4-5", Usage(6, 40)),
        (CHAT, "claude-sonnet", "claude-sonnet-4-5", Usage(6, 40)),
        (CHAT, "my-own", "my-own", Usage(9, 40)),
        (CHAT, "my-own", "my-own", Usage(9, 40)),
        (CHAT, "gpt-4o", "gpt-4o", Usage(7, 40)),
        (CHAT, "gpt-4o", "gpt-4o", Usage(9, 40)),
        (text, "gpt-3.5-turbo-instruct", "gpt-3.5-turbo-instruct", Usage(4, 40)),
        (text, "gpt-3.5-turbo-instruct", "gpt-3.5-turbo-instruct", Usage(4, 40)),
        (vectors, "text-embedding-3-small", "text-embedding-3-small", Usage(8)),
        (responses, "gpt-4o", "gpt-4o", Usage(6, 40)),
        (responses, "gpt-4o", "gpt-4o", Usage(6, 40)),
        (CHAT, "gpt-4o", "gpt-4o", Usage(6, 40)),
    ]
    assert all(e.seconds and e.caller == "88dc28d0" for e in traffic.exchanges)
    assert all(e.said for e in traffic.exchanges if e.path != vectors)
    inputs = [e.body.get("input") for e in traffic.exchanges if e.path in (vectors, responses)]
    assert inputs == [["What is Valkey?", "What is Redis?"], ASKED, ASKED]
    assert [e.body["temperature"] for e in traffic.exchanges if "temperature" in e.body] == [0.2]


def test_prices_are_those_that_litellms_proxy_has_counted() -> None:
    path = LOGS / "litellm_proxy.jsonl"
    costs = {
        line.document["startTime"]: line.document["response_cost"] for line in read_lines(path)
    }
    prices = ListPrices("https://api.openai.com/v1", {})
    counted = 0
    for exchange in read_traffic(path).exchanges:
        price = prices.nanodollars(exchange.model, exchange.usage or Usage(0))
        if cost := costs[exchange.at]:
            counted += 1
            assert price == pytest.approx(cost * 1e9)
    assert counted == 13


def test_litellms_text_completions_are_read() -> None:
    found = read(LITELLM | {"call_type": "atext_completion", "messages": "Hi", "response": "Ho"})
    assert (found.path, found.body["prompt"], found.said) == ("/v1/completions", "Hi", "Ho")


LANGFUSE = {
    "id": "o-1",
    "traceId": "t-1",
    "type": "GENERATION",
    "startTime": "2023-11-14T22:13:20.500Z",
    "endTime": "2023-11-14T22:13:22.000Z",
    "model": "m",
    "modelParameters": {"temperature": "0.5", "max_tokens": "Infinity", "top_p": 1},
    "input": ASKED,
    "output": SAID,
    "usageDetails": {"input": 4, "output": 3, "total": 7},
    "userId": "ann",
}
EXPORTED = {
    "id": "o-1",
    "trace_id": "t-1",
    "type": "GENERATION",
    "start_time": "2023-11-14 22:13:20.500000",
    "end_time": "2023-11-14 22:13:22.000000",
    "provided_model_name": "m",
    "model_parameters": '{"temperature": 0.5, "top_p": 1, "max_tokens": "inf"}',
    "input": json.dumps({"messages": ASKED}),
    "output": json.dumps(SAID),
    "usage_details": {"input": 4, "output": 3},
    "user_id": "ann",
}


@pytest.mark.parametrize("line", [LANGFUSE, EXPORTED])
def test_langfuses_observations_are_read(line: dict[str, Any]) -> None:
    found = read(line)
    assert found.body == body(user="ann", temperature=0.5, top_p=1)
    assert (found.at, found.seconds) == (1_700_000_000.5, 1.5)
    assert (found.said, found.usage) == ("A store.", Usage(4, 3))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (LITELLM | {"status": "failure"}, "failed"),
        (LITELLM | {"call_type": "aimage_generation"}, "other-route"),
        (LITELLM | {"messages": {}}, "no-prompt"),
        (LITELLM | {"call_type": "aembedding", "messages": [{"content": [1, 2]}]}, "no-prompt"),
        (LITELLM | {"call_type": "aresponses", "messages": {}}, "no-prompt"),
        (LANGFUSE | {"type": "SPAN"}, "not-a-generation"),
        (LANGFUSE | {"level": "ERROR"}, "failed"),
        (LANGFUSE | {"input": None}, "no-prompt"),
        ({"request": body(), "url": "/v1/images/generations"}, "other-route"),
        ({"request": body(), "response": {"status_code": 429, "body": {}}}, "failed"),
        ({"request": body(), "response": {"error": {"code": "x"}}}, "failed"),
        ({"prompt": "  "}, "no-prompt"),
        ({"prompt": 3}, "no-prompt"),
        ({"messages": []}, "no-prompt"),
        ({"question": "What?"}, "unknown-shape"),
    ],
)
def test_what_cannot_be_replayed_says_why(line: dict[str, Any], reason: str) -> None:
    assert read_exchange(line) == reason


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ({"input": 4, "output": 3, "total": 7}, Usage(4, 3)),
        ({"input": "4", "output": "3"}, Usage(4, 3)),
        (
            {
                "input": 30,
                "input_cached_tokens": 70,
                "total": 120,
                "output": 15,
                "output_reasoning_tokens": 5,
            },
            Usage(100, 20, cached=70),
        ),
        (
            {
                "input": 30,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 10,
                "output": 20,
            },
            Usage(100, 20, cached=60, written=10),
        ),
        ({"input": 4, "output": 3, "inputCost": 0.5, "outputCost": 2.0}, Usage(4, 3)),
        ({"input": 0, "output": 0}, None),
        ({"input": None, "output": True}, None),
        ({}, None),
        (None, None),
    ],
)
def test_langfuses_details_are_added_to_what_they_are_not_part_of(
    told: Any, usage: Usage | None
) -> None:
    assert read(LANGFUSE | {"usageDetails": told}).usage == usage


@pytest.mark.parametrize(
    ("line", "usage"),
    [
        (LITELLM | {"response": {}, "prompt_tokens": 4, "completion_tokens": 3}, Usage(4, 3)),
        ({"prompt": "a", "usage": {"prompt_tokens": 4}}, Usage(4)),
        ({"prompt": "a", "answer": "b", "usage": {"prompt_tokens": 0}}, None),
        ({"prompt": "a", "usage": 4}, None),
        ({"request": body(), "response": ANSWER | {"usage": None}}, None),
    ],
)
def test_tokens_are_those_of_the_answer_or_of_the_line(line: Any, usage: Usage | None) -> None:
    assert read(line).usage == usage


@pytest.mark.parametrize("response", ["redacted-by-litellm", {}, None, ""])
def test_an_answer_that_was_not_kept_is_none(response: Any) -> None:
    assert read(LITELLM | {"response": response}).answer is None


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (1_700_000_000, 1_700_000_000.0),
        (1_700_000_000_500, 1_700_000_000.5),
        (1_700_000_000_500_000, 1_700_000_000.5),
        ("1700000000.5", 1_700_000_000.5),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000.0),
        ("yesterday", None),
        (True, None),
        (None, None),
    ],
)
def test_times_are_read_in_many_ways(told: Any, expected: float | None) -> None:
    assert read({"prompt": "a", "time": told}).at == expected


def test_a_log_is_put_in_the_order_of_its_times(tmp_path: Path) -> None:
    lines = [
        {"prompt": "c", "time": 30},
        {"prompt": "d"},
        {"prompt": "a", "time": 10},
        {"prompt": "b", "time": 20},
        {"other": 1},
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    traffic = read_traffic(path)
    assert [(e.prompt, e.at) for e in traffic.exchanges] == [
        ("a", 10.0),
        ("b", 20.0),
        ("c", 30.0),
        ("d", 30.0),
    ]
    assert traffic.unusable == {"unknown-shape": 1}


def test_a_log_without_a_request_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    with pytest.raises(BadInput, match=r"no line can be replayed \(2 unknown-shape\)"):
        read_traffic(path)
