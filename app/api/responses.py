"""Sends answers to the client, and closes each answer's source even if sending fails."""

import asyncio
import functools
import json
import logging
import time
from collections.abc import Coroutine, Mapping
from contextlib import aclosing
from email.utils import formatdate
from typing import Any

from starlette.types import Scope, Send

from app.api.paths import api_path
from app.api.request import RequestReader
from app.core.cache_status import Head, Replay
from app.core.errors import Refusal, UpstreamInterrupted
from app.core.inflight import Hold
from app.core.models import Header
from app.dialects.messages.errors import error_body
from app.engine.answers import PendingAnswer
from app.engine.serving import new_request_id
from app.rules.headers import cache_headers
from app.rules.providers import speaks_anthropic

_logger = logging.getLogger("reprise.http")

_REPLACED = frozenset(
    {
        *(b"x-cache", b"x-cache-distance", b"x-cache-entry", b"x-cache-shadow"),
        *(b"x-cache-saved-tokens", b"x-cache-saved-usd", b"x-cache-saved-seconds"),
    }
)
_WITHOUT_BODY = frozenset({204, 304})
_PIECE = 65_536  # bytes; uvicorn waits until the client has read most of the previous piece
# A 304 may have a Content-Length (RFC 9110 §8.6), but uvicorn would then wait for a body.
_REPLACED_WITHOUT_BODY = _REPLACED | {b"content-length"}


async def respond(
    answer: Replay | PendingAnswer, scope: Scope, incoming: RequestReader, send: Send
) -> None:
    """Send an answer. Stop as soon as the client disconnects."""
    if isinstance(answer, Replay):
        incoming.hold.add(len(answer.body))
        await _start(answer.head, scope, send)
        await _write(answer.body, send, is_last=True)
    else:
        async with aclosing(answer):
            await _while_connected(_relay(answer, scope, incoming.hold, send), incoming)


async def refuse(refusal: Refusal, scope: Scope, send: Send) -> None:
    """Send an error response in the format of the API that the request is for."""
    known = api_path(scope["raw_path"])
    is_anthropics = known is not None and speaks_anthropic(*known, scope["headers"])
    headers, body = rendered(refusal, is_anthropics=is_anthropics)
    await send({"type": "http.response.start", "status": refusal.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def rendered(refusal: Refusal, *, is_anthropics: bool = False) -> tuple[list[Header], bytes]:
    """Return the headers and the body of an error response in OpenAI's or Anthropic's format."""
    document: Mapping[str, Any] = refusal.body()
    named: list[Header] = []
    if is_anthropics:
        request_id = new_request_id()
        named.append((b"request-id", request_id.encode()))
        document = error_body(refusal.status_code, str(refusal), request_id)
    body = json.dumps(document).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"date", _date(int(time.time()))),
        *named,
        *refusal.headers,
    ]
    return headers, body


@functools.lru_cache(maxsize=1)
def _date(now: int) -> bytes:
    """Return the value of the Date header (RFC 9110 §6.6.1) for `now`, in seconds since 1970."""
    return formatdate(now, usegmt=True).encode()


async def _start(head: Head, scope: Scope, send: Send) -> None:
    scope["state"]["cache_status"] = head.cache_status
    dropped = _REPLACED_WITHOUT_BODY if head.status_code in _WITHOUT_BODY else _REPLACED
    headers: list[Header] = [h for h in head.headers if h[0] not in dropped]
    headers += cache_headers(head.cache_status)
    if not any(name == b"date" for name, _ in headers):
        headers.append((b"date", _date(int(time.time()))))
    await send({"type": "http.response.start", "status": head.status_code, "headers": headers})


async def _write(body: bytes, send: Send, *, is_last: bool) -> None:
    """Send a body in pieces.

    Each piece is sent after the client has read most of the earlier pieces. `is_last` says whether
    `body` ends the response.
    """
    at = 0
    while len(body) - at > _PIECE:
        await send(
            {"type": "http.response.body", "body": body[at : at + _PIECE], "more_body": True}
        )
        at += _PIECE
    await send({"type": "http.response.body", "body": body[at:], "more_body": not is_last})


async def _relay(answer: PendingAnswer, scope: Scope, hold: Hold, send: Send) -> None:
    await _start(await answer.head(), scope, send)
    try:
        async for piece in answer:
            hold.add(len(piece))
            await _write(piece, send, is_last=False)
            hold.drop(len(piece))
    except UpstreamInterrupted as interrupted:
        # The response is left unfinished, so that uvicorn closes the connection: otherwise the
        # client would take the part that it has for the whole answer.
        _logger.warning("%s", interrupted)
        return
    await send({"type": "http.response.body", "body": b""})


async def _while_connected(work: Coroutine[Any, Any, None], incoming: RequestReader) -> None:
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(incoming.disconnected())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pending in (task, gone):
            pending.cancel()
        await asyncio.wait({task, gone})
    if not task.cancelled():
        task.result()
