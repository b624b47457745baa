"""An upstream for every API that is cached by meaning, and readers of its answers."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from app.dialects.messages.events import events_of as message_events
from app.dialects.responses.events import events_of as response_events
from tests.dialects.messages import message
from tests.fakes import completion
from tests.responding import message as item
from tests.responding import part, response, sse
from tests.servers import STREAM_TYPE, Exchange

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
Document = dict[str, Any]


@dataclass(frozen=True)
class Api:
    """An API: how to ask a question, how an upstream answers, how to read the answer's text.

    `told`: the path from an answer's document to its text. `heard`: the path from an event to a
    piece of the text. `error`: the event that an upstream streams when it fails. `by_meaning`:
    another wording is answered by the cache.
    """

    name: str
    path: str
    route: str
    ask: Callable[[str], Document]
    whole: Callable[[str, str], Document]
    events: Callable[[str, str], Sequence[bytes]]
    told: Sequence[str | int]
    heard: Sequence[str | int]
    error: bytes
    by_meaning: bool = True

    def body(self, question: str, *, stream: bool = False) -> Document:
        """Return the body of a request."""
        usage = {"stream_options": {"include_usage": True}} if "completion" in self.name else {}
        return self.ask(question) | ({"stream": True, **usage} if stream else {})

    def text(self, answer: bytes) -> str:
        """Return the text of an answer, whole or streamed."""
        if answer.startswith(b"{"):
            return str(_at(json.loads(answer), self.told))
        lines = [line.partition(b":")[2] for line in answer.splitlines() if line[:5] == b"data:"]
        events = [json.loads(line) for line in lines if line.strip() != b"[DONE]"]
        return "".join(_at(event, self.heard) or "" for event in events)


def _at(value: Any, path: Iterable[str | int]) -> Any:
    for step in path:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return None
    return value


def _data(*documents: Mapping[str, Any]) -> list[bytes]:
    return [f"data: {json.dumps(document)}\n\n".encode() for document in documents]


def _chunks(text: str, name: str) -> list[bytes]:
    deltas = [{"role": "assistant", "content": ""}, *({"content": w} for w in words(text)), {}]
    told = {"id": name, "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices = [
        {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None if delta else "stop"}
        for delta in deltas
    ]
    chunks = [{**told, "choices": [choice], "usage": None} for choice in choices]
    return [*_data(*chunks, {**told, "choices": [], "usage": USAGE}), b"data: [DONE]\n\n"]


def _text_document(text: str, name: str, finish: str | None = "stop") -> Document:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    told = {"id": name, "object": "text_completion", "created": 1, "model": "m"}
    return {**told, "choices": [choice], "usage": USAGE}


def _text_chunks(text: str, name: str) -> list[bytes]:
    chunks = [{**_text_document(w, name, None), "usage": None} for w in words(text)]
    last = {**_text_document("", name), "usage": None}
    usage = {**_text_document("", name), "choices": []}
    return [*_data(*chunks, last, usage), b"data: [DONE]\n\n"]


def _response(text: str, name: str) -> Document:
    return response(item(part(text)), id=name)


def _message(text: str, name: str) -> Document:
    return {**message({"type": "text", "text": text, "citations": None}), "id": name}


def _message_events(text: str, name: str) -> list[bytes]:
    return [
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
        for event in message_events(_message(text, name), name)
    ]


def words(text: str) -> list[str]:
    """Cut a text into pieces."""
    return [f"{word} " for word in text.split()]


def answer_to(question: str, number: int) -> str:
    """Return the upstream's answer. It is long enough for several events, and ends with a space."""
    return f"Answer {number} to {question}: " + "a word and another one, " * 9


_CHAT = Api(
    name="chat_completion",
    path="chat/completions",
    route="chat_completions",
    ask=lambda q: {"model": "m", "messages": [{"role": "user", "content": q}]},
    whole=lambda text, name: {**completion(text), "id": name},
    events=_chunks,
    told=("choices", 0, "message", "content"),
    heard=("choices", 0, "delta", "content"),
    error=b'data: {"error": {"message": "Overloaded.", "type": "server_error"}}\n\n',
)
_COMPLETIONS = Api(
    name="completion",
    path="completions",
    route="completions",
    ask=lambda q: {"model": "m", "prompt": q, "max_tokens": 99},
    whole=_text_document,
    events=_text_chunks,
    told=("choices", 0, "text"),
    heard=("choices", 0, "text"),
    error=_CHAT.error,
)
_KEPT = Api(
    name="response",
    path="responses",
    route="responses",
    ask=lambda q: {"model": "m", "input": q},
    whole=_response,
    events=lambda text, name: [sse(event) for event in response_events(_response(text, name))],
    told=("output", 0, "content", 0, "text"),
    heard=("delta",),
    error=sse({"type": "error", "code": "server_error", "message": "Overloaded.", "param": None}),
    by_meaning=False,
)
_RESPONSES = Api(
    **{
        **{name: getattr(_KEPT, name) for name in Api.__dataclass_fields__},
        "ask": lambda q: {**_KEPT.ask(q), "store": False},
        "by_meaning": True,
    }
)
_MESSAGES = Api(
    name="message",
    path="messages",
    route="messages",
    ask=lambda q: {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": q}]},
    whole=_message,
    events=_message_events,
    told=("content", 0, "text"),
    heard=("delta", "text"),
    error=b'event: error\ndata: {"type": "error", "error": '
    b'{"type": "overloaded_error", "message": "Overloaded."}}\n\n',
)
APIS = {
    "chat": _CHAT,
    "completions": _COMPLETIONS,
    "responses": _RESPONSES,
    "responses-kept": _KEPT,
    "messages": _MESSAGES,
}


class Answering:
    """An upstream of one API. A stream waits after `before` events until `go_on` is set.

    `instead`: sent in place of the rest of a stream; then the connection is closed. `streamed`: the
    whole last stream.
    """

    def __init__(self, api: Api) -> None:
        self.api = api
        self.asked: list[Exchange] = []
        self.streamed = b""
        self.before = 0
        self.instead: bytes | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read()
        if exchange.method == "DELETE":
            await exchange.answer({"deleted": True})
            return
        self.asked.append(exchange)
        body, number = exchange.document, len(self.asked)
        question = next(str(body[n]) for n in ("prompt", "input", "messages") if n in body)
        text, name = answer_to(question, number), f"upstream_{number}"
        if not body.get("stream"):
            await exchange.answer(self.api.whole(text, name))
            return
        await exchange.start(200, STREAM_TYPE)
        events = self.api.events(text, name)
        self.streamed = b"".join(events)
        for event in events[: self.before]:
            await exchange.write(event)
        await self.go_on.wait()
        if self.instead is not None:
            await exchange.write(self.instead)
            return  # without an end, which makes the server close the connection
        for event in events[self.before :]:
            await exchange.write(event)
        await exchange.end()


async def outcome(client: httpx.AsyncClient, api: Api, *question: str, **options: Any) -> str:
    """Ask, check the answer's text, and return the value of `x-cache`."""
    answer = await ask(client, api, *question, **options)
    assert answer.status_code == 200, answer.text
    assert api.text(answer.content).startswith("Answer ")
    value: str = answer.headers["x-cache"]
    return value


async def ask(
    client: httpx.AsyncClient,
    api: Api,
    question: str = "valkey what",
    *,
    stream: bool = False,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Send a request below `/v1`, and return the whole response."""
    return await client.post(
        f"/v1/{api.path}", json=api.body(question, stream=stream), headers=headers
    )
