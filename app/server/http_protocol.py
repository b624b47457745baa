"""HTTP/1.1 for an ASGI application, with a limit on the memory that each connection can occupy.

The limit applies to all bytes from a client, even before the client's API key is checked.
"""

import asyncio
import select
from collections.abc import Callable
from typing import Any, NoReturn

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from app.api.responses import rendered
from app.core.errors import HeadTooLarge, InvalidRequest, Refusal, RequestTimeout, TooBusy
from app.server.connections import Admission, Connections
from app.server.deadlines import Awaited, Deadlines, Patience
from app.server.framing import (
    END_OF_HEAD,
    empty_lines,
    end_of_chunks,
    end_of_head,
    without_offer,
)
from app.server.heads import why_refused

_LAST_REQUEST_SECONDS = 0.5  # how long a shutdown waits for a request that is arriving
_REFUSED_SECONDS = 1.0  # time to read a refusal for a client that is still sending
_LONGEST_HEAD = 65_536  # bytes
_MOST_FIELDS = 1000  # a limit of its own, since a field takes more memory than its bytes
_EARNED = 1 + 16  # allowance for each byte of a body: the byte, chunk sizes and extensions
_CUTS, _COARSE = 100, 4096  # a body is split at its first 100 empty lines, then every 4096 bytes
_TOO_LARGE = "The request's head, trailers or chunk extensions are too large."
_TOO_MANY = "This client has too many connections open."
_TOO_SLOW = "The whole request did not arrive in time."
_PROBE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PROBE_SECONDS = 0.5  # most answers have begun within this time


class _Flow(FlowControl):
    """Uvicorn's flow control, with a switch that prevents reading from the connection.

    While `is_held` is true, `resume_reading` does nothing. `on_resume` is called when reading is
    resumed. From that time on, the client can send again.
    """

    is_held = False

    def __init__(self, transport: asyncio.Transport, on_resume: Callable[[], None]) -> None:
        super().__init__(transport)
        self._on_resume = on_resume

    def resume_reading(self) -> None:
        if self.read_paused and not self.is_held:
            super().resume_reading()
            self._on_resume()


class HttpProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol, changed in the following points.

    Limits. Requests are parsed one at a time, each after the answer to the previous one. A head is
    parsed only when it is complete. Data that cannot be parsed yet are kept. While more than 64 kB
    are kept, reading stops. All parts of a request except its body may have 64 kB in total: empty
    lines, the head, the framing of chunks, and the trailers. Trailers are dropped (RFC 9110
    §6.5.1).

    Upgrades. Java's client sends `Upgrade: h2c` with every request. A server may ignore this field
    (RFC 9110 §7.8), but httptools does not parse the body of a request that has it. So the field is
    removed before parsing. The field of a GET that asks for a WebSocket is kept (RFC 6455 §4.1),
    and the application refuses the request.

    Half-closed connections. A client that closes its side after its request still gets the answer
    (RFC 9112 §9.6). A client that has disappeared looks the same until the server writes to the
    connection. So an interim response is sent, which clients of HTTP/1.1 ignore (RFC 9110 §15.2).

    HTTP/1.0. Its clients do not know chunks. Closing the connection marks the end of the body.

    Deadlines. A client that does not send the rest of its request gets 408 (RFC 9110 §15.5.9).

    Shutdown. An idle connection is kept open for a moment, because a request may be arriving and
    the client may be unable to repeat it. Later answers have `Connection: close` (RFC 9112 §9.6).
    """

    flow: _Flow
    _deadlines: Deadlines
    _unparsed = b""
    _is_between = True  # no part of the next message has been parsed
    _is_in_head = False
    _body_left = 0  # remaining bytes of the body, if the head has a Content-Length
    _cuts = 0  # number of splits at empty lines in the body
    _allowance = _LONGEST_HEAD  # bytes that this message may still have besides its body
    _refusal: Refusal | None = None
    _is_refused = False
    _is_ending = False
    _is_half_closed = False

    def __init__(self, *args: Any, clients: Connections, patience: Patience, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clients = clients
        self._patience = patience
        self._admitted: tuple[str, Admission] | None = None  # None for a Unix socket: no address

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadlines = Deadlines(self._patience, transport, self._on_late)
        self._deadlines.expect(Awaited.REQUEST)
        self.flow = _Flow(transport, self._deadlines.excuse)
        if self.client is None:
            return
        address = self.client[0]
        admission = self._clients.enter(address)
        self._admitted = (address, admission)
        if admission is Admission.REFUSED:
            self._refuse(TooBusy(_TOO_MANY))
        elif admission is Admission.CUT:
            self._is_refused = True
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._admitted is not None:
            self._clients.leave(*self._admitted)
        self._deadlines.end()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Record that the client has closed its side; return whether to keep the connection.

        The connection is kept if a complete request was received and its answer has not begun.
        """
        if self.scheme == "https" or self._is_idle() or not self._may_be_answered():
            return False
        self._is_half_closed = True
        self.loop.call_later(_PROBE_SECONDS, self._probe, self.cycle, _PROBE)
        return True

    def _may_be_answered(self) -> bool:
        return not self.cycle.more_body and not self.cycle.response_started

    def _probe(self, cycle: RequestResponseCycle, interim: bytes = b"") -> None:
        """Check periodically, until the answer begins, whether the client is still connected.

        `interim` is an interim response. It is sent once to a client of HTTP/1.1.
        """
        if cycle.response_started or cycle.disconnected or self.transport.is_closing():
            return
        if _has_hung_up(self.transport):
            self.transport.abort()
            return
        if cycle.scope["http_version"] == "1.1":
            self.transport.write(interim)
        self.loop.call_later(_PROBE_SECONDS, self._probe, cycle)

    def data_received(self, data: bytes) -> None:
        if not self._is_refused:
            self._unparsed = self._unparsed + data if self._unparsed else data
            self._parse()
            self._deadlines.expect(self._awaited(), len(data))

    def _awaited(self) -> Awaited:
        """Return the part of a request that the client must send next."""
        if self._is_refused:
            return Awaited.NOTHING
        if self._is_between and self._is_idle():
            return Awaited.HEAD if self._unparsed else Awaited.REQUEST
        is_answering = self.cycle.response_started and not self.cycle.response_complete
        return Awaited.NOTHING if self._is_between or is_answering else Awaited.BODY

    def _on_late(self, awaited: Awaited) -> None:
        present = self._awaited()
        if present is not awaited:
            self._deadlines.expect(present)
        elif awaited is Awaited.BODY and self.flow.read_paused:
            self._deadlines.excuse()
        elif awaited is Awaited.REQUEST:
            self.transport.close()
        else:
            self._refuse(RequestTimeout(_TOO_SLOW))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._deadlines.await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._deadlines.reader_is_back()

    def _parse(self) -> None:
        """Parse the received data of the current request, and keep the rest of the data."""
        data, at = self._unparsed, 0
        while at < len(data):
            if self._is_between:
                if not self._is_idle():
                    break
                begin = at + empty_lines(data, at) if data[at] in b"\r\n" else at
                end = end_of_head(data, begin)
                piece = without_offer(data[begin:end])
            else:
                end = self._end_in_body(data, at)
                piece = data[at:end]
            if end == at:
                break
            self._allowance -= end - at
            if piece:
                super().data_received(piece)
            at = end
            if self._allowance < 0:
                self._refuse(HeadTooLarge(_TOO_LARGE))
            if self._is_refused:
                return
        self._keep(data[at:])

    def _end_in_body(self, data: bytes, at: int) -> int:
        """Return the index in `data` just after the last byte that belongs to this request.

        The bytes before `at` are parsed already. If `at` is returned, more data must arrive first.
        """
        if self._body_left:
            return min(at + self._body_left, len(data))
        end = end_of_chunks(data, at, 0 if self._cuts < _CUTS else _COARSE)
        self._cuts += data.endswith(END_OF_HEAD, at, end)
        return end

    def _keep(self, data: bytes) -> None:
        """Keep unparsed data for later. While more than 64 kB are kept, reading stops."""
        self._unparsed = data
        if not data and not self.flow.is_held:
            return
        self._unset_keepalive_if_required()
        if self._is_idle() and len(data) > self._allowance:
            self._refuse(HeadTooLarge(_TOO_LARGE))
            return
        was_held, self.flow.is_held = self.flow.is_held, len(data) > _LONGEST_HEAD
        if self.flow.is_held:
            self.flow.pause_reading()
        elif was_held:
            self.flow.resume_reading()

    def on_message_begin(self) -> None:
        self._is_between = False
        self._is_in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a field of the head or trailers, as uvicorn does, but limit the number of fields."""
        headers = self.headers
        if len(headers) >= _MOST_FIELDS:
            self._fail()
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        headers.append((name, value.rstrip(b" \t")))  # RFC 9112 §5

    def on_headers_complete(self) -> None:
        if self._allowance < 0:
            self._fail()
        if refusal := why_refused(
            self.parser.get_method(), self.parser.get_http_version(), self.headers
        ):
            self._refusal = refusal
            raise refusal
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            self.cycle.send = _Unchunked(self.cycle)  # type: ignore[method-assign]
        self._is_in_head = False
        self._body_left = int(dict(self.headers).get(b"content-length", 0))
        self.headers = []  # takes the trailers, which are dropped
        # Otherwise, data after a refused upgrade would be taken for further requests.
        if self._is_ending or self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def _fail(self) -> NoReturn:
        """Raise HeadTooLarge. The exception also stops the parser."""
        self._refusal = HeadTooLarge(_TOO_LARGE)
        raise self._refusal

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self._body_left:
            self._body_left -= len(body)
            self._allowance += len(body)
        else:
            self._allowance = min(self._allowance + len(body) * _EARNED, _LONGEST_HEAD)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_between = True
        self._body_left = self._cuts = 0
        self._allowance = _LONGEST_HEAD

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_ending:
            self._linger()
        if self._unparsed and not self.transport.is_closing():
            self._parse()
        if self._is_half_closed and self._is_idle():
            self.transport.close()
        self._deadlines.expect(self._awaited())

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or InvalidRequest(msg))

    def _refuse(self, refusal: Refusal) -> None:
        """Send an error response, unless an answer has begun, and close the connection."""
        if self._is_refused:
            return
        self._is_refused = True
        self._unparsed = b""
        self._unset_keepalive_if_required()
        if self._may_answer():
            if not self._is_idle():
                self.cycle.disconnected = True
                self.cycle.waiting_for_100_continue = False
                self.cycle.message_event.set()
            self.transport.write(_answer(refusal))
        elif not self._is_idle():
            self.transport.close()
            return
        # Closing with unread data would reset the connection and lose the answer (RFC 9112 §9.6).
        self.transport.write_eof()
        self.flow.is_held = False
        self.flow.resume_reading()
        self.loop.call_later(_REFUSED_SECONDS, self.transport.close)

    def _may_answer(self) -> bool:
        """Return whether an error response may be sent.

        It may be sent if all earlier requests are answered and the answer to the current request
        has not begun.
        """
        if self._is_between or self._is_in_head:
            return self._is_idle()
        return not self.cycle.response_started

    def shutdown(self) -> None:
        self._is_ending = True
        if self._is_idle():
            self._linger()
        elif not self.cycle.response_started:
            self.cycle.keep_alive = False

    def _linger(self) -> None:
        self.loop.call_later(_LAST_REQUEST_SECONDS, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete


class _Unchunked:
    """Sends an answer to an HTTP/1.0 client without chunks, even if the length is not known."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._send = cycle.send
        self._has_length = False

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            self._has_length = b"content-length" in names
            if not self._has_length:
                self._cycle.chunked_encoding = False
        elif not self._has_length:
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._send(message)


def _has_hung_up(transport: asyncio.Transport) -> bool:
    """Return whether a connection was reset.

    The event loop does not notice a reset while reading is stopped.
    """
    sock = transport.get_extra_info("socket")
    if not sock:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def _answer(refusal: Refusal) -> bytes:
    headers, body = rendered(refusal)
    fields = (b"%s: %s\r\n" % field for field in (*headers, (b"connection", b"close")))
    return STATUS_LINE[refusal.status_code] + b"".join(fields) + b"\r\n" + body
