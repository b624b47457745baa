"""Reads a client's request, and notices when the client disconnects."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from urllib.parse import unquote_to_bytes

from starlette.types import Receive, Scope

from app.api.paths import api_path
from app.core.errors import ClientDisconnected, PassthroughDisabled, RouteNotFound
from app.core.inflight import Hold, Inflight
from app.core.models import ClientRequest
from app.rules.headers import end_to_end

_DOTS = frozenset({b".", b".."})  # segments that change the path (RFC 3986 §5.2.4)
_SLASHES = re.compile(rb"[/\\]")
_ENDS = re.compile(rb"[;?#]")  # end a segment for servers that decode a path before parsing it
# Control characters, and bytes that lax UTF-8 decoders take for dots or slashes (RFC 3629 §3, §10).
_NO_NAME = re.compile(rb"[\x00-\x1f\x7f\xc0\xc1]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]")
_DECODINGS = 3  # how often servers behind us may decode a path; more encoding is refused


def client_request(scope: Scope, body: bytes | AsyncIterator[bytes]) -> ClientRequest:
    """Return the client's request, without the headers that concern only the client's connection.

    Raises RouteNotFound for a path outside the API. Raises PassthroughDisabled for a path that
    would leave the upstream's base path.
    """
    known = api_path(scope["raw_path"])
    if known is None:
        raise RouteNotFound("There is no such route; the API is below /v1.")
    if _leads_elsewhere(known.path):
        raise PassthroughDisabled(
            "A path is not forwarded if servers could read it as one with a segment `.` or `..`."
        )
    return ClientRequest(
        method=scope["method"],
        path=known.path,
        query=scope["query_string"],
        headers=end_to_end(scope["headers"]),
        body=body,
        prefix=known.prefix,
    )


def _leads_elsewhere(path: bytes) -> bool:
    """Whether a server could read a segment of a path as `.` or `..`.

    Some servers decode a path twice, or treat a backslash as a slash. Others drop the part of a
    segment after a semicolon or a NUL, or accept overlong UTF-8.
    """
    for _ in range(_DECODINGS):
        path, before = unquote_to_bytes(path), path
        if path == before:
            break
    else:
        if unquote_to_bytes(path) != path:
            return True
    if _NO_NAME.search(path):
        return True
    return any(_ENDS.split(segment, 1)[0] in _DOTS for segment in _SLASHES.split(path))


class RequestReader:
    """Reads a request's body, whole or as a stream, and notices when the client disconnects.

    `hold` counts the bytes that are held for this request, including its body.
    """

    def __init__(self, receive: Receive, hold: Hold | None = None) -> None:
        self.hold = hold or Hold(Inflight())
        self._receive = receive
        self._read: deque[bytes] = deque()
        self._ended = asyncio.Event()
        self._gone = False

    async def body(self, limit: int) -> bytes | None:
        """Return the whole body, or None if the body is too long.

        A body is too long if it has more than `limit` bytes, or if the process has no room for the
        body. In this case, the bytes read so far are kept, and `stream` yields them first.
        """
        size = 0
        while not self._ended.is_set():
            piece = await self._next()
            self._read.append(piece)
            size += len(piece)
            if size > limit or not self.hold.inflight.has_room_for(size):
                return None
        whole = b"".join(self._read)
        self._read.clear()
        return whole

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the pieces of the body as they arrive."""
        while self._read or not self._ended.is_set():
            if piece := self._read.popleft() if self._read else await self._next():
                yield piece
                self.hold.drop(len(piece))

    async def disconnected(self) -> None:
        """Wait until the client disconnects.

        A disconnect is noticed only after the whole body has arrived.
        """
        await self._ended.wait()
        while not self._gone:
            self._gone = (await self._receive())["type"] == "http.disconnect"

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._gone = True
            self._ended.set()
            raise ClientDisconnected
        if not message.get("more_body", False):
            self._ended.set()
        piece: bytes = message.get("body", b"")
        self.hold.add(len(piece))
        return piece
