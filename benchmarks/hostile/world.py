"""A proxy with settings for an open network, and an upstream whose answers the question chooses."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Receive, Scope, Send

from benchmarks.faults.world import proxy_with
from benchmarks.faults.world import serve as serve_honest
from tests.fakes import completion
from tests.servers import JSON_TYPE, STREAM_TYPE, Exchange, upstream_of

HONEST_KEY, HOSTILE_KEY = "sk-honest", "sk-hostile"
LARGE, HUGE, BOMB, STREAM = "large", "huge", "bomb", "stream"
"""First words of questions. They tell the upstream which kind of answer to give."""

_SIZES = {LARGE: 200_000, HUGE: 5_000_000}  # characters of an answer
_READ = 65_536  # bytes; a longer body is not parsed
_PIECES, _PIECE, _BETWEEN = 100, 65_536, 0.02  # of a stream; the last one in seconds
_BOMB_BYTES = 64_000_000  # of a compressed answer that was expanded

SETTINGS = {
    "HOST": "127.0.0.1",
    "PORT": "0",
    "LOG_LEVEL": "error",
    "UPSTREAM_API_KEY": "sk-upstream",
    "API_KEYS": f"{HONEST_KEY},{HOSTILE_KEY}",
    "ADMIN_TOKEN": "sk-operator",
    "PASSTHROUGH": "on",
    "STORE": "memory://",
    "MAX_BYTES": "64000000",
    "MAX_CONCURRENT": "200",
    "MAX_CONNECTIONS": "64",
    "HEAD_TIMEOUT": "2",
    "CLIENT_TIMEOUT": "3",
    "IDLE_TIMEOUT": "4",
}
"""The settings that docs/deploying.md recommends, with a small store and the models that ship.

Operators and clients share a port, so that the operators' routes can be attacked, too.
"""


def _bomb() -> bytes:
    """Return a completion of many equal letters, compressed by gzip."""
    before, _, after = json.dumps(completion("@")).encode().partition(b"@")
    coder = zlib.compressobj(wbits=31)
    pieces = [coder.compress(before)]
    pieces += [coder.compress(b"x" * 1_000_000) for _ in range(_BOMB_BYTES // 1_000_000)]
    return b"".join([*pieces, coder.compress(after), coder.flush()])


class Upstream:
    """An application that gives the kind of answer that a question asks for. It stores nothing."""

    def __init__(self) -> None:
        self._bomb = _bomb()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self.serve(Exchange(scope, receive, send))

    async def serve(self, exchange: Exchange) -> None:
        """Answer a request. Questions of honest clients are answered as in `benchmarks.faults`."""
        size = 0
        async for piece in exchange.pieces():
            size += len(piece)
            if size > _READ:
                exchange.body = b""
        question, is_stream = _asked(exchange.body)
        kind = question.partition(" ")[0]
        if is_stream:
            await _stream(exchange)
        elif kind == BOMB:
            coded = (b"content-encoding", b"gzip"), (b"content-length", b"%d" % len(self._bomb))
            await exchange.start(200, JSON_TYPE, *coded)
            await exchange.write(self._bomb)
            await exchange.end()
        elif kind in _SIZES:
            await _answer_long(exchange, f"{question} ", _SIZES[kind])
        elif question.startswith(("What does the word", "Can you explain")):
            await serve_honest(exchange)
        else:
            await exchange.answer(completion("It does not matter."))


async def _answer_long(exchange: Exchange, text: str, size: int) -> None:
    """Answer with `text` and `size` more letters.

    The JSON is built from a short template, because serializing the long text would be slow.
    """
    before, _, after = json.dumps(completion(f"{text}@")).encode().partition(b"@")
    length = (b"content-length", b"%d" % (len(before) + size + len(after)))
    await exchange.start(200, JSON_TYPE, length)
    await exchange.write(before)
    for at in range(0, size, _PIECE):
        await exchange.write(b"x" * min(_PIECE, size - at))
    await exchange.write(after)
    await exchange.end()


def _asked(body: bytes) -> tuple[str, bool]:
    """Return the text of the last message, and whether to stream; "" and False if malformed."""
    try:
        document: Any = json.loads(body)
        return str(document["messages"][-1]["content"]), document.get("stream") is True
    except (ValueError, LookupError, TypeError, RecursionError):
        return "", False


async def _stream(exchange: Exchange) -> None:
    """Stream a long answer."""
    delta = {"index": 0, "delta": {"content": "x" * _PIECE}, "finish_reason": None}
    chunk = {**completion(), "object": "chat.completion.chunk", "choices": [delta]}
    event = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    await exchange.start(200, STREAM_TYPE)
    for _ in range(_PIECES):
        await exchange.write(event)
        await asyncio.sleep(_BETWEEN)
    await exchange.write(b"data: [DONE]\n\n")
    await exchange.end()


@asynccontextmanager
async def world() -> AsyncIterator[tuple[int, str]]:
    """Run a proxy in front of the upstream, and yield the proxy's process id and base URL."""
    async with (
        upstream_of(Upstream()) as upstream,
        proxy_with({**SETTINGS, "UPSTREAM_URL": upstream}) as proxy,
    ):
        yield proxy
