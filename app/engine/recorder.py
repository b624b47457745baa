"""Records a copy of an upstream answer while the answer is sent on, and parses the copy.

An invalid answer of an upstream never makes this code raise an exception. An answer that cannot be
parsed is not stored.
"""

import re
from collections.abc import Callable
from typing import Generic, TypeVar

from app.core.cache_status import DiscardReason, Head
from app.core.content_codings import Decoder, content_coding, decoder_for
from app.core.errors import NotUnderstood
from app.core.inflight import Hold
from app.dialects.dialect import AnswerReader
from app.rules import freshness
from app.rules.decisions import Recorded
from app.rules.headers import ALLOW_ORIGIN, value_of
from app.rules.limits import Limits

T = TypeVar("T")

_OK = 200
_LENGTH = re.compile("[0-9]{1,15}")


class Recorder(Generic[T]):
    """Records one answer: passes the bytes that it gets to an AnswerReader.

    `is_complete`: whether the whole answer was recorded and `outcome` was not called yet. When it
    becomes True, call `outcome` before the last bytes are sent to the client.
    `reason`: why the answer will not be stored; None if there is no reason so far.
    `size`: the number of bytes received, counted after the content coding is decoded.
    `hold`: counts the recorded bytes. If the process holds too many bytes, recording stops.
    """

    def __init__(
        self,
        head: Head,
        limits: Limits,
        reader_for: Callable[[bool], AnswerReader[T]],
        hold: Hold,
    ) -> None:
        headers = head.headers
        self.reason: DiscardReason | None = None
        self.is_complete = False
        self.size = 0
        self._settled = False
        self._limits = limits
        self._hold = hold
        media_type = (value_of(headers, b"content-type") or "").partition(";")[0].strip().lower()
        coding = content_coding(headers)
        self._decoder = decoder_for(coding) if coding else None
        self._received = 0  # bytes received, before decoding
        length = value_of(headers, b"content-length") or ""
        self._announced = int(length) if _LENGTH.fullmatch(length) else None
        self._allow_origin = value_of(headers, ALLOW_ORIGIN) or ""
        is_stream = media_type == "text/event-stream"
        self._reader: AnswerReader[T] | None = reader_for(is_stream)
        self._lifetime = freshness.freshness_lifetime(headers, limits, is_stream=is_stream)
        self._stale_lifetime = freshness.stale_lifetime(headers, limits, is_stream=is_stream)
        if head.status_code != _OK:
            self.reason = "status"
        elif not is_stream and not media_type.endswith(("/json", "+json")):
            self.reason = "content-type"
        elif coding and self._decoder is None:
            self.reason = "content-encoding"
        elif self._lifetime <= 0:
            self.reason = "no-store"

    @property
    def _is_over(self) -> bool:
        return self.is_complete or self._settled or self.reason is not None

    def feed(self, chunk: bytes) -> None:
        """Record the next bytes of the body. The bytes still have the answer's content coding."""
        if self._is_over:
            return
        self._received += len(chunk)
        if self._decoder is None:
            self._take(chunk)
        else:
            self._decode(self._decoder, chunk)
        if self._received == self._announced:
            # The client knows by Content-Length that the answer has ended, and may ask again
            # before we see the end of the body.
            self.end()

    def _decode(self, decoder: Decoder, chunk: bytes) -> None:
        try:
            for piece in decoder.feed(chunk):
                if self._is_over:
                    return
                self._take(piece)
        except ValueError:
            self.reason = "content-encoding"

    def _take(self, piece: bytes) -> None:
        self.size += len(piece)
        self._hold.add(len(piece))
        if self.size > self._limits.max_bytes:
            self._give_up("too-large")
        elif self._hold.inflight.is_full:
            self._give_up("no-room")
        elif reader := self._reader:
            self._try(lambda: reader.feed(piece))
            self.is_complete = self.reason is None and reader.is_complete

    def _give_up(self, reason: DiscardReason) -> None:
        self.reason = reason
        self._reader = None  # frees all that it has read
        self._hold.release()

    def end(self) -> None:
        """Record that the whole body has arrived. Do not call this if the body was cut off."""
        if not self._is_over and self._decoder and not self._decoder.is_finished:
            self.reason = "incomplete"
        if not self._is_over and self._reader:
            self._try(self._reader.end)
        if not self._is_over:
            self.is_complete = True

    def outcome(self) -> Recorded[T] | None:
        """Parse the complete answer and return the result; None if it cannot be parsed.

        This may be called in another thread, because a large answer takes long to parse.
        """
        self.is_complete = False
        self._settled = True
        reader, read = self._reader, list[T]()
        if reader is not None:
            self._try(lambda: read.append(reader.read()))
        if not read:
            return None
        return Recorded(read[0], self._lifetime, self._stale_lifetime, self._allow_origin)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except NotUnderstood as unknown:
            self.reason = unknown.detail
        except (UnicodeError, RecursionError):
            self.reason = "unknown-body"
