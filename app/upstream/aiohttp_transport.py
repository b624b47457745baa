"""An httpx transport built on aiohttp.

The transport needs a fifth of the CPU time of httpx's own transport. It adds no headers. It leaves
headers, request targets and bodies as they are. It follows no redirects and never repeats a
request. (The package `httpx-aiohttp` joins repeated headers and rewrites the request target. It
reports a timeout when a connection closes early.)
"""

import asyncio
import functools
import re
import select
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any
from weakref import WeakSet

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.payload import AsyncIterablePayload
from aiohttp.tracing import Trace
from multidict import CIMultiDict
from yarl import URL

from app.upstream.last_words import LastWords, remembering

_KEEP_ALIVE_SECONDS = 15.0
_LONGEST_HEADER = 65_536
_PIECE = 65_536
_LOWEST_STATUS, _HIGHEST_STATUS = 200, 599  # statuses of final responses (RFC 9110 §15)
_NOT_IN_VALUES = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110 §5.5
_ADDED_BY_AIOHTTP = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Sends requests unchanged. `proxy` is the URL of an HTTP proxy; None means no proxy.

    Supports httpx's request extensions `timeout` and `target`:
    https://www.python-httpx.org/advanced/extensions/
    """

    def __init__(self, proxy: str | None = None) -> None:
        self._proxy = proxy
        self._tls = remembering(httpx.create_ssl_context())
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response once the head of the response has arrived.

        Raises httpx.TimeoutException or another httpx.TransportError.
        """
        if self._session is None:
            self._session = _new_session(self._tls)
        try:
            response = await self._send(self._session, request)
        except aiohttp.ConnectionTimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except TimeoutError as error:
            raise httpx.ReadTimeout("no answer in time") from error
        except aiohttp.ClientConnectionError as error:
            raise httpx.ConnectError("no connection, or closed without an answer") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise httpx.RemoteProtocolError("not an HTTP answer") from error
        if not _LOWEST_STATUS <= response.status <= _HIGHEST_STATUS:
            response.close()
            raise httpx.RemoteProtocolError("not an HTTP status")
        if any(_NOT_IN_VALUES.search(value) for _, value in response.raw_headers):
            response.close()
            raise httpx.RemoteProtocolError("not an HTTP header")
        return httpx.Response(
            response.status, headers=response.raw_headers, stream=_Body(response), request=request
        )

    async def _send(
        self, session: aiohttp.ClientSession, request: httpx.Request
    ) -> aiohttp.ClientResponse:
        target: bytes = request.extensions["target"]
        connect, read = (request.extensions["timeout"][name] for name in ("connect", "read"))
        # aiohttp's read timeout starts only after the request's body was sent. But a server may
        # stop reading that body: so this deadline is extended with each piece that it accepts.
        async with asyncio.timeout(connect + read) as deadline:
            return await session.request(
                request.method,
                URL(str(request.url).removesuffix("/") + target.decode("latin-1"), encoded=True),
                headers=_headers(request),
                data=_body(request, lambda: deadline.reschedule(_now() + read)),
                allow_redirects=False,
                proxy=self._proxy,
                timeout=aiohttp.ClientTimeout(
                    connect=connect, sock_connect=connect, sock_read=read
                ),
            )

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


class _Body(httpx.AsyncByteStream):
    """The body of a response as it arrives, not decompressed."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, TimeoutError) as error:
            raise httpx.ReadError("the body broke off") from error

    async def aclose(self) -> None:
        # If the body was read, the connection is back in the pool already; else it is closed.
        self._response.close()


def _headers(request: httpx.Request) -> CIMultiDict[str]:
    lines = [line for line in request.headers.raw if line[0].lower() != b"transfer-encoding"]
    return CIMultiDict((name.decode("ascii"), _text(value)) for name, value in lines)


def _text(value: bytes) -> str:
    """Return a header's value as text; aiohttp later encodes this text as UTF-8.

    If `value` is valid UTF-8, the server receives the bytes of `value` unchanged.
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")  # the only values whose bytes are changed


def _body(
    request: httpx.Request, on_piece: Callable[[], None]
) -> bytes | AsyncIterator[bytes] | None:
    is_whole = isinstance(request.stream, httpx.ByteStream)
    if is_whole and len(request.content) <= _PIECE:
        return request.content or None
    pieces = _sliced(request.content) if is_whole else request.stream
    return _watched(pieces, on_piece) if isinstance(pieces, AsyncIterable) else None


async def _sliced(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), _PIECE):
        yield content[at : at + _PIECE]


async def _watched(
    pieces: AsyncIterable[bytes], on_piece: Callable[[], None]
) -> AsyncIterator[bytes]:
    async for piece in pieces:
        on_piece()
        # If the server has answered and closed, the next write fails. Let the event loop read the
        # answer first.
        await asyncio.sleep(0)
        yield piece
    on_piece()


def _now() -> float:
    return asyncio.get_running_loop().time()


class _Connector(aiohttp.TCPConnector):
    """A connector that does not reuse a connection on which the server has sent unrequested data.

    If the connection were reused, aiohttp would treat these data as the answer to the next request.
    The next request may come from another caller (RFC 9112 §9.2).
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._used: WeakSet[ResponseHandler] = WeakSet()
        self._factory = functools.partial(_new_handler, self._loop)

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> Connection:
        """Return a pooled connection without unrequested data, or a new connection."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if isinstance(protocol, LastWords) and isinstance(req.body, AsyncIterablePayload):
                protocol.keep_open()
            if protocol is None or protocol not in self._used:
                break
            if not _has_spoken(protocol):
                return connection
            connection.close()
        # Data that arrive at once on a new connection, such as a 503, are meant for this request.
        if protocol is not None:
            self._used.add(protocol)
        return connection


def _new_handler(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return LastWords(loop)


def _has_spoken(protocol: ResponseHandler) -> bool:
    """Whether a connection has received data that belong to no request."""
    return protocol.should_close or _is_readable(protocol) or _has_begun_another(protocol)


def _is_readable(protocol: ResponseHandler) -> bool:
    """Whether the kernel has unread bytes, or the end of the stream, for a connection.

    With TLS, a session ticket may be the only unread data. In that case, a new connection is not
    necessary but is opened anyway. This costs little.
    """
    sock = protocol.transport and protocol.transport.get_extra_info("socket")
    if not sock:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _has_begun_another(protocol: ResponseHandler) -> bool:
    """Whether the parser has received a part of the head of another, unrequested response.

    aiohttp itself uses the same check when a connection is lost.
    """
    try:
        return protocol._parser is not None and protocol._parser.feed_eof() is not None  # noqa: SLF001
    except Exception:  # noqa: BLE001 - an incomplete head may raise any error
        return True


def _new_session(tls: ssl.SSLContext) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=_Connector(
            limit=0,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            ssl=tls,
        ),
        # A cookie jar would send one caller's cookies with another caller's requests.
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_ADDED_BY_AIOHTTP,
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
    )
    # aiohttp repeats idempotent requests if the connection closes without an answer. The client
    # may decide to do so; a proxy cannot know what the first attempt did.
    session._retry_connection = False  # noqa: SLF001
    return session
