import json
import time
from typing import Any

import pytest
from openai.types.responses import Response

from app.core.models import ClientRequest
from app.dialects.sse import EventParser
from app.upstream.simulator import SimulatedResponse, SimulatedUpstream


async def ask(
    upstream: SimulatedUpstream, method: str, path: bytes, body: bytes = b""
) -> tuple[SimulatedResponse, bytes]:
    response = await upstream.send(ClientRequest(method, path, b"", [], body))
    return response, b"".join([piece async for piece in response])


def chat(question: str = "What is Valkey?", **fields: Any) -> bytes:
    messages = [{"role": "user", "content": question}]
    return json.dumps({"model": "m", "messages": messages, **fields}).encode()


def embeddings(texts: Any, **fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": texts, **fields}).encode()


async def test_the_answer_depends_on_the_last_question() -> None:
    _, body = await ask(SimulatedUpstream(), "POST", b"/chat/completions", chat())
    document = json.loads(body)
    assert document["object"] == "chat.completion"
    assert document["choices"][0]["message"]["content"].endswith("What is Valkey?")
    assert document["usage"]["total_tokens"] > 0


async def test_a_stream_tells_the_same_answer() -> None:
    upstream = SimulatedUpstream(answer=lambda question: f"About {question}")
    response, body = await ask(upstream, "POST", b"/chat/completions", chat(stream=True))
    assert response.headers[0][1].startswith(b"text/event-stream")
    assert b'"content": "About What is Valkey?"' in body
    assert body.endswith(b"data: [DONE]\n\n")


async def test_it_answers_responses_whole_and_streamed() -> None:
    upstream = SimulatedUpstream(answer=lambda question: f"About {question}")
    asked = {"model": "m", "input": "What is Valkey?", "store": False}
    _, body = await ask(upstream, "POST", b"/responses", json.dumps(asked).encode())
    told = Response.model_validate_json(body)
    assert (told.output_text, told.status) == ("About What is Valkey?", "completed")
    response, body = await ask(
        upstream, "POST", b"/responses", json.dumps({**asked, "stream": True}).encode()
    )
    assert response.headers[0][1].startswith(b"text/event-stream")
    last = json.loads(EventParser().feed(body)[-1].data)["response"]
    assert (
        last["output"][0]["content"] == json.loads(told.model_dump_json())["output"][0]["content"]
    )
    response, body = await ask(upstream, "DELETE", f"/responses/{told.id}".encode())
    assert (response.status_code, json.loads(body)["deleted"]) == (200, True)


async def test_as_many_choices_come_as_asked_for() -> None:
    _, body = await ask(SimulatedUpstream(), "POST", b"/chat/completions", chat(n=3))
    assert [choice["index"] for choice in json.loads(body)["choices"]] == [0, 1, 2]


@pytest.mark.parametrize(
    ("method", "path", "body", "status_code"),
    [
        ("POST", b"/chat/completions", b"{", 400),
        ("POST", b"/chat/completions", chat(n=0), 400),
        ("POST", b"/chat/completions", chat(n=10**9), 400),
        ("POST", b"/embeddings", b"{", 400),
        ("POST", b"/embeddings", b"[]", 400),
        ("POST", b"/embeddings", b'{"input": "text"}', 400),
        ("POST", b"/embeddings", embeddings(None), 400),
        ("POST", b"/embeddings", embeddings(""), 400),
        ("POST", b"/embeddings", embeddings([]), 400),
        ("POST", b"/embeddings", embeddings([[]]), 400),
        ("POST", b"/embeddings", embeddings(["a", 1]), 400),
        ("POST", b"/embeddings", embeddings(["a"] * 2049), 400),
        ("POST", b"/embeddings", embeddings("a", dimensions=0), 400),
        ("POST", b"/embeddings", embeddings("a", dimensions=True), 400),
        ("POST", b"/embeddings", embeddings("a", encoding_format="hex"), 400),
        ("POST", b"/audio/speech", b"{}", 404),
        ("GET", b"/chat/completions", b"", 404),
    ],
)
async def test_what_it_cannot_do_is_an_error_in_openais_shape(
    method: str, path: bytes, body: bytes, status_code: int
) -> None:
    response, answer = await ask(SimulatedUpstream(), method, path, body)
    assert response.status_code == status_code
    assert set(json.loads(answer)["error"]) == {"message", "type", "param", "code"}


async def test_it_lists_its_model() -> None:
    _, body = await ask(SimulatedUpstream(), "GET", b"/models")
    assert [model["id"] for model in json.loads(body)["data"]] == ["simulated"]


async def test_it_takes_the_time_it_is_told() -> None:
    begin = time.perf_counter()
    await ask(SimulatedUpstream(delay=0.05), "POST", b"/chat/completions", chat())
    assert time.perf_counter() - begin >= 0.05
