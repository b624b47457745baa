"""An upstream for real clients; it notices when a client has closed its connection."""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tests.clients import messages, responses
from tests.clients.asked import SLOWLY, asked_status, example_of, text_of
from tests.fakes import completion, numbers
from tests.servers import STREAM_TYPE, Exchange, UpstreamApp

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
_FIRST_WORDS = ("content_block_delta", "response.output_text.delta")
_DSPY_FIELD = re.compile(r"\[\[ ## (\w+) ## \]\]")


class LabUpstream(UpstreamApp):
    """Answers with `Reply N`, where N counts all requests, or with calls of the request's tools.

    A question with `status-400` gets status 400. A question with `Tell me slowly` gets one word and
    nothing more; `left` is set when the client of that question closes its connection.
    """

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.left = asyncio.Event()
        self._conversations = responses.Conversations()

    async def _answer(self, exchange: Exchange) -> None:
        await exchange.read()
        path = exchange.path.decode()
        if path.endswith("/chat/completions"):
            await self._chat(exchange)
        elif path.endswith("/responses"):
            await self._response(exchange)
        elif path.endswith("/messages"):
            await self._message(exchange)
        elif path.endswith("/embeddings"):
            await exchange.answer(_embeddings(exchange.document))
        else:
            await exchange.answer(_error(404, f"there is no {path}"), 404)

    async def _chat(self, exchange: Exchange) -> None:
        asked = exchange.document
        last = text_of(asked["messages"][-1])
        if status := asked_status(last):
            await _fail(exchange, status)
        elif SLOWLY in last:
            await exchange.start(200, STREAM_TYPE)
            for delta in ({"role": "assistant", "content": ""}, {"content": "Once "}):
                await exchange.write(_event(_chunk(delta)))
            await exchange.disconnected()
            self.left.set()
        elif asked.get("stream"):
            await exchange.stream(*_chunks(asked, len(self.exchanges)))
        else:
            count = len(self.exchanges)
            whole = completion(**_message(asked, count))
            told = {"id": _id(count), "model": asked["model"], "usage": USAGE}
            await exchange.answer({**whole, **told})

    async def _message(self, exchange: Exchange) -> None:
        asked = exchange.document
        last = text_of(asked["messages"][-1])
        if status := asked_status(last):
            await exchange.answer(messages.error_of(f"the lab says {status}"), status)
            return
        message = messages.message_of(asked, len(self.exchanges))
        if asked.get("stream"):
            is_slow = SLOWLY in last
            await self._tell(exchange, messages.events_of(message), is_slow=is_slow)
        else:
            await exchange.answer(message)

    async def _response(self, exchange: Exchange) -> None:
        asked = exchange.document
        last = responses.last_text_of(self._conversations.items_of(asked))
        if status := asked_status(last):
            await _fail(exchange, status)
            return
        response = self._conversations.response_of(asked, len(self.exchanges))
        if asked.get("stream"):
            is_slow = SLOWLY in last
            await self._tell(exchange, responses.events_of(response), is_slow=is_slow)
        else:
            await exchange.answer(response)

    async def _tell(
        self, exchange: Exchange, events: Iterable[dict[str, Any]], *, is_slow: bool
    ) -> None:
        """Stream events that have names. A slow stream sends nothing after its first word."""
        await exchange.start(200, STREAM_TYPE)
        for event in events:
            await exchange.write(_named(event))
            if is_slow and event["type"] in _FIRST_WORDS:
                await exchange.disconnected()
                self.left.set()
                return
        await exchange.end()


async def _fail(exchange: Exchange, status: int) -> None:
    soon = (b"retry-after-ms", b"10")
    await exchange.answer(_error(status, f"the lab says {status}"), status, soon)


def _message(asked: dict[str, Any], count: int) -> dict[str, Any]:
    """Answer with a call of the tool that the request asks for; with text if there is none."""
    messages = asked["messages"]
    since = messages[max(i for i, m in enumerate(messages) if m["role"] != "tool") + 1 :]
    tools = {tool["function"]["name"]: tool["function"] for tool in asked.get("tools") or []}
    observed = bool(since) or "Observation" in text_of(messages[-1])
    if observed:
        tools = {name: tool for name, tool in tools.items() if name == "final_answer"}
    if tools and asked.get("tool_choice") != "none":
        name, tool = next(iter(tools.items()))
        if isinstance(choice := asked.get("tool_choice"), dict):
            name = choice["function"]["name"]
            tool = tools[name]
        arguments = json.dumps(example_of(tool.get("parameters") or {"type": "object"}))
        call = {"id": f"call_{count}", "type": "function"}
        call["function"] = {"name": name, "arguments": arguments}  # type: ignore[assignment]
        return {"content": None, "tool_calls": [call]}
    return {"content": _text(asked, text_of(since[-1]) if since else "", count)}


def _text(asked: dict[str, Any], told: str, count: int) -> str:
    """Write an answer in the form that the request wants."""
    form = asked.get("response_format") or {}
    if form.get("type") == "json_schema":
        return json.dumps(example_of(form["json_schema"]["schema"]))
    if form.get("type") == "json_object":
        return json.dumps({"city": "Paris", "degrees": 21})
    prompt = " ".join(text_of(message) for message in asked["messages"])
    text = f"Reply {count}: {told or 'apt-get install valkey does it.'}"
    if "[[ ## completed ## ]]" in prompt:
        examples = {"city": "Paris", "degrees": "21"}
        wanted = text_of(asked["messages"][-1]).partition("Respond with")[2]
        names = [name for name in _DSPY_FIELD.findall(wanted) if name != "completed"]
        fields = [f"[[ ## {name} ## ]]\n{examples.get(name, text)}" for name in names]
        return "\n\n".join([*fields, "[[ ## completed ## ]]"])
    if "Final Answer:" in prompt:
        return f"Thought: I now can give a great answer\nFinal Answer: {text}"
    return text


def _id(count: int) -> str:
    """Return an id that no other answer has, because agents distinguish messages by their ids."""
    return f"chatcmpl-lab-{count}"


def _chunks(asked: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """Yield the chunks of an answer: role, pieces, finish reason, and usage if it was requested."""
    for chunk in _pieces(asked, count):
        yield {**chunk, "id": _id(count)}


def _pieces(asked: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    message = _message(asked, count)
    yield _chunk({"role": "assistant", "content": None if "tool_calls" in message else ""})
    for index, call in enumerate(message.get("tool_calls", [])):
        arguments = call["function"]["arguments"]
        head = {**call["function"], "arguments": ""}
        yield _chunk({"tool_calls": [{**call, "index": index, "function": head}]})
        for piece in (arguments[:5], arguments[5:]):
            yield _chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    for word in re.findall(r"\S+\s*", message["content"] or ""):
        yield _chunk({"content": word})
    yield _chunk({}, "tool_calls" if "tool_calls" in message else "stop")
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield {**_chunk({}), "choices": [], "usage": USAGE}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {
        "id": "chatcmpl-lab",
        "object": "chat.completion.chunk",
        "created": 1_600_000_000,
        "model": "gpt-4o-mini",
        "choices": [choice],
    }


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _named(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\n".encode() + _event(event)


def _error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "lab", "param": None, "code": f"lab_{status}"}}


def _embeddings(asked: dict[str, Any]) -> dict[str, Any]:
    inputs = asked["input"]
    if isinstance(inputs, str) or isinstance(inputs[0], int):
        inputs = [inputs]
    encoding = asked.get("encoding_format") or "float"
    data = [
        {"object": "embedding", "index": index, "embedding": numbers(item, encoding)}
        for index, item in enumerate(inputs)
    ]
    usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
    return {"object": "list", "data": data, "model": asked["model"], "usage": usage}
