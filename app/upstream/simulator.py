"""A simulated upstream in this process, for first steps, demos and tests. It needs no API key.

The upstream answers at once or after a delay. An answer depends only on the last user message or
the prompt. An embedding depends only on the words of its text.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

from app.core.errors import NotUnderstood
from app.core.models import ClientRequest, Header
from app.dialects import sse
from app.dialects.chat_completions.chunks import chunks_of
from app.dialects.chat_completions.request import ChatRequest, texts_of
from app.dialects.chunked import DONE
from app.dialects.completions.chunks import chunks_of as text_chunks_of
from app.dialects.completions.request import CompletionRequest
from app.dialects.messages.errors import error_body
from app.dialects.messages.events import events_of
from app.dialects.messages.request import MessagesRequest
from app.dialects.responses.deletion import deleted_response
from app.dialects.responses.replay import stream_of
from app.dialects.responses.request import ResponsesRequest
from app.dialects.sse import Event
from app.dialects.strict_json import JsonObject
from app.rules.providers import is_anthropics
from app.upstream.simulated_completions import completion_of
from app.upstream.simulated_embeddings import answer_embeddings
from app.upstream.simulated_messages import message_of, tokens_of
from app.upstream.simulated_responses import answer_response

_JSON: Header = (b"content-type", b"application/json")
_EVENT_STREAM: Header = (b"content-type", b"text/event-stream; charset=utf-8")
_MODELS = ("simulated",)
_MOST_CHOICES = 128
_DEPLOYMENT = re.compile(rb"^/deployments/[^/]+")


def default_answer(question: str) -> str:
    """Return a made-up answer that repeats the question."""
    return f"This is a simulated answer to: {question}"


class SimulatedUpstream:
    """An upstream with made-up answers.

    `delay` is the time in seconds before an answer begins. `answer` is a function that returns the
    answer to a question.
    """

    def __init__(self, delay: float = 0.0, answer: Callable[[str], str] = default_answer) -> None:
        self._delay = delay
        self._answer = answer
        self._routes: Mapping[bytes, Callable[[bytes], SimulatedResponse]] = {
            b"/chat/completions": lambda body: self._chat(ChatRequest.parse(body)),
            b"/completions": lambda body: self._complete(CompletionRequest.parse(body)),
            b"/embeddings": lambda body: _document(200, answer_embeddings(body)),
            b"/messages": lambda body: self._message(MessagesRequest.parse(body)),
            b"/messages/count_tokens": _count_tokens,
            b"/responses": lambda body: self._response(ResponsesRequest.parse(body)),
        }

    async def send(self, request: ClientRequest) -> "SimulatedResponse":
        """Return an answer in the format of the request's API.

        The status is 404 for an unknown route, and 400 for a request that is not valid.
        """
        body = await _read(request.body)
        await asyncio.sleep(self._delay)
        if request.method == "GET" and request.path == b"/models":
            models = [{"id": name, "object": "model", "owned_by": "reprise"} for name in _MODELS]
            return _document(200, {"object": "list", "data": models})
        try:
            if request.method == "POST" and (answer := self._routes.get(_route(request))):
                return answer(body)
            if name := deleted_response(request):
                return _document(200, {"id": name, "object": "response", "deleted": True})
        except NotUnderstood:
            return _refused(request, 400, "does not understand this request")
        return _refused(request, 404, "has no such route")

    def _chat(self, chat: ChatRequest) -> "SimulatedResponse":
        if not 1 <= chat.choices <= _MOST_CHOICES:
            return _error(400, f"n must be from 1 to {_MOST_CHOICES}.")
        asked = [m for m in chat.messages if m["role"] == "user"][-1:]
        question = "\n".join(texts_of(asked[0].get("content")) or []) if asked else ""
        answer = self._answer(question)
        completion = _completion(chat, answer)
        envelope = {"id": "chatcmpl-simulated", "created": int(time.time())}
        if not chat.stream:
            return _document(200, {**envelope, "object": "chat.completion", **completion})
        envelope["object"] = "chat.completion.chunk"
        chunks = chunks_of(completion, include_usage=chat.include_usage)
        return SimulatedResponse(200, [_EVENT_STREAM], _events(envelope, chunks))

    def _complete(self, asked: CompletionRequest) -> "SimulatedResponse":
        if not 1 <= asked.choices <= _MOST_CHOICES:
            return _error(400, f"There must be from 1 to {_MOST_CHOICES} completions.")
        completion = completion_of(asked, self._answer)
        envelope = {
            "id": "cmpl-simulated",
            "object": "text_completion",
            "created": int(time.time()),
        }
        if not asked.stream:
            return _document(200, {**envelope, **completion})
        chunks = text_chunks_of(completion, include_usage=asked.include_usage)
        return SimulatedResponse(200, [_EVENT_STREAM], _events(envelope, chunks))

    def _message(self, asked: MessagesRequest) -> "SimulatedResponse":
        message = message_of(asked, self._answer)
        if not asked.stream:
            return _document(200, {"id": "msg_simulated", **message})
        events = events_of(message, "msg_simulated")
        told = [sse.encode_event(Event(json.dumps(event), event["type"])) for event in events]
        return SimulatedResponse(200, [_EVENT_STREAM], told)

    def _response(self, asked: ResponsesRequest) -> "SimulatedResponse":
        response = answer_response(asked, self._answer)
        if not asked.stream:
            return _document(200, response)
        return SimulatedResponse(200, [_EVENT_STREAM], stream_of(response))

    async def aclose(self) -> None:
        """Do nothing."""


class SimulatedResponse:
    """A response of the simulated upstream."""

    def __init__(self, status_code: int, headers: Sequence[Header], pieces: list[bytes]) -> None:
        self.status_code = status_code
        self.headers = headers
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        """Do nothing."""


def _route(request: ClientRequest) -> bytes:
    """Return the path of a request without Azure's `/deployments/NAME` at the beginning."""
    return _DEPLOYMENT.sub(b"", request.path)


def _count_tokens(body: bytes) -> SimulatedResponse:
    return _document(200, {"input_tokens": tokens_of(MessagesRequest.parse(body))})


def _refused(request: ClientRequest, status_code: int, why: str) -> SimulatedResponse:
    message = f"The simulated upstream {why}."
    if is_anthropics(request):
        return _document(status_code, error_body(status_code, message, "req_simulated"))
    return _error(status_code, message)


async def _read(body: bytes | AsyncIterator[bytes]) -> bytes:
    return body if isinstance(body, bytes) else b"".join([piece async for piece in body])


def _document(status_code: int, document: JsonObject) -> SimulatedResponse:
    body = json.dumps(document).encode()
    length = (b"content-length", b"%d" % len(body))
    return SimulatedResponse(status_code, [_JSON, length], [body])


def _error(status_code: int, message: str) -> SimulatedResponse:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return _document(status_code, {"error": error})


def _completion(chat: ChatRequest, answer: str) -> JsonObject:
    # Words are counted in place of tokens: the figures are plausible, not exact.
    asked = sum(len(str(message.get("content")).split()) for message in chat.messages)
    told = len(answer.split()) * chat.choices
    message = {"role": "assistant", "content": answer, "refusal": None}
    choice = {"message": message, "logprobs": None, "finish_reason": "stop"}
    return {
        "model": chat.model,
        "choices": [{"index": index, **choice} for index in range(chat.choices)],
        "usage": {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told},
    }


def _events(envelope: JsonObject, chunks: Iterator[JsonObject]) -> list[bytes]:
    events = [sse.encode(json.dumps({**envelope, **chunk}).encode()) for chunk in chunks]
    return [*events, sse.encode(DONE.encode())]
