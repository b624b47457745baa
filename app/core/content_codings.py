"""Decoders of content codings (RFC 9110 §8.4.1) such as gzip, with output of bounded size.

Decoded data may be thousands of times as large as the compressed data. So decoders yield pieces of
bounded size, and the caller decides when to stop.
"""

import functools
import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import Protocol

import brotli

from app.core.models import Header

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_PIECE = 65_536  # bytes
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's `wbits`
_GZIP_BEGINS = b"\x1f"
_MOST = 4  # codings applied one after another to one body
_SLACK = 1 << 20  # bytes
_ZSTD_WINDOW_LOG = 23  # 2**23 bytes = 8 MB, the largest window allowed in HTTP (RFC 9659 §3)


class Decoder(Protocol):
    """Decodes a body from its content coding, piece by piece."""

    @property
    def is_finished(self) -> bool:
        """Whether the end mark of the encoded data has been read."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes; yield the result in pieces of at most about 64 kB.

        Raises ValueError if the data are damaged.
        """


def content_coding(headers: Iterable[Header]) -> str:
    """Return the content coding in the headers of a body, in lower case; empty if there is none.

    Several codings are separated by ", ", in the order in which they were applied (RFC 9110 §8.4).
    """
    told = b",".join(value for name, value in headers if name == b"content-encoding")
    codings = map(str.strip, told.decode("latin-1").lower().split(","))
    return ", ".join(coding for coding in codings if coding not in {"", "identity"})


def decoder_for(coding: str) -> Decoder | None:
    """Return a decoder for `coding`, a result of `content_coding`.

    Return None if `coding` contains an unknown coding, or more than four codings.
    """
    codings = coding.split(", ", maxsplit=_MOST)
    decoders = [decoder for one in codings if (decoder := _decoder_for(one))]
    if len(decoders) < len(codings) or len(codings) > _MOST:
        return None
    return functools.reduce(_Chain, decoders)


def _decoder_for(coding: str) -> Decoder | None:
    match coding:
        case "gzip" | "x-gzip":
            return _Gzip()
        case "deflate":
            return _Deflate()
        case "br":
            return _Brotli()
        case "zstd":
            return _Zstd()
    return None


class _Chain:
    """Decodes two codings: first `outer`, which was applied last, then `inner`.

    The output of `outer` may be at most 1 MB plus twice the output of `inner`. Without this limit,
    a few bytes could expand to data that keep `inner` busy for hours without any output.
    """

    def __init__(self, inner: Decoder, outer: Decoder) -> None:
        self._inner = inner
        self._outer = outer
        self._left = _SLACK  # bytes

    @property
    def is_finished(self) -> bool:
        return self._outer.is_finished and self._inner.is_finished

    def feed(self, data: bytes) -> Iterator[bytes]:
        for between in self._outer.feed(data):
            self._left -= len(between)
            for piece in self._inner.feed(between):
                self._left += 2 * len(piece)
                yield piece
            if self._left < 0:
                raise ValueError("damaged data: several codings expand to nothing")


class _Gzip:
    """Decodes the gzip format (RFC 1952): one or more members, one after another."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)

    @property
    def is_finished(self) -> bool:
        return self._member.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member.eof:
                if not data.startswith(_GZIP_BEGINS):
                    return  # padding
                self._member = zlib.decompressobj(_GZIP)
            yield from _inflated(self._member, data)
            data = self._member.unused_data


class _Deflate:
    """Decodes HTTP's `deflate`.

    The right format is zlib (RFC 1950). Some servers send raw deflate (RFC 1951) instead. Both
    formats are decoded.
    """

    def __init__(self) -> None:
        self._begun = b""
        self._stream: zlib._Decompress | None = None

    @property
    def is_finished(self) -> bool:
        return self._stream is not None and self._stream.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            data = self._begun = self._begun + data
            if len(data) < 2:  # noqa: PLR2004 - a zlib header has two bytes
                return
            is_zlib = data[0] & 15 == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
            self._stream = zlib.decompressobj(_ZLIB if is_zlib else _RAW)
        if not self._stream.eof:
            yield from _inflated(self._stream, data)


def _inflated(stream: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    is_full = True
    while not stream.eof and (data or is_full):
        try:
            piece = stream.decompress(data, _PIECE)
        except zlib.error as error:
            raise ValueError("damaged deflate data") from error
        data, is_full = stream.unconsumed_tail, len(piece) == _PIECE
        if piece:
            yield piece


class _Brotli:
    """Decodes Brotli (RFC 7932)."""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    @property
    def is_finished(self) -> bool:
        return bool(self._stream.is_finished())

    def feed(self, data: bytes) -> Iterator[bytes]:
        while not self._stream.is_finished():
            try:
                piece: bytes = self._stream.process(data, output_buffer_limit=_PIECE)
            except brotli.error as error:
                raise ValueError("damaged brotli data") from error
            if piece:
                yield piece
            if self._stream.can_accept_more_data() and len(piece) < _PIECE:
                return
            data = b""


class _Zstd:
    """Decodes Zstandard (RFC 8878): one or more frames, one after another."""

    def __init__(self) -> None:
        self._frame = _frame()

    @property
    def is_finished(self) -> bool:
        return self._frame.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data or not (self._frame.eof or self._frame.needs_input):
            if self._frame.eof:
                self._frame = _frame()
            try:
                piece = self._frame.decompress(data, _PIECE)
            except zstd.ZstdError as error:
                raise ValueError("damaged zstd data") from error
            data = self._frame.unused_data if self._frame.eof else b""
            if piece:
                yield piece


def _frame() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    )
