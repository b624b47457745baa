"""Finds the ends of the parts of an HTTP/1.1 message (RFC 9112) in data that arrive in pieces."""

import re

END_OF_HEAD = b"\r\n\r\n"
"""The bytes that end a head, and a chunked body."""

_OFFER = re.compile(rb"(?i)\r\nupgrade[ \t]*:[^\r\n]*")
_OFFER_BUT_WEBSOCKET = re.compile(rb"(?i)\r\nupgrade[ \t]*:(?![^\r\n]*websocket)[^\r\n]*")


def without_offer(head: bytes) -> bytes:
    """Return a head without its `Upgrade` field, unless a GET asks for a WebSocket with it."""
    offer = _OFFER_BUT_WEBSOCKET if head.startswith(b"GET ") else _OFFER
    return offer.sub(b"", head)


def empty_lines(data: bytes, at: int) -> int:
    """Return the length in bytes of the empty lines that begin at `at`."""
    rest = data[at:]
    return len(rest) - len(rest.lstrip(b"\r\n"))


def end_of_head(data: bytes, at: int) -> int:
    """Return the index in `data` just after the head that begins at `at`.

    If more data must arrive first, `at` is returned; if this is not a head, the length of the data.
    """
    end = data.find(END_OF_HEAD, at)
    if end >= 0:
        return end + len(END_OF_HEAD)
    return at if _may_begin_a_head(data[at:]) else len(data)


def _may_begin_a_head(data: bytes) -> bool:
    """Whether data may be the beginning of a head; the parser refuses other data."""
    return data[:1].isupper() and b"\n\n" not in data


def end_of_chunks(data: bytes, at: int, least: int) -> int:
    """Return the index in `data` just after the first empty line: a chunked body may end there.

    The search skips the first `least` bytes from `at` on. Without an empty line, the length of the
    data is returned. But if `least` is 0 and an empty line has begun to arrive at the end of the
    data, the index where it begins is returned.
    """
    end = data.find(END_OF_HEAD, at + least)
    if end >= 0:
        return end + len(END_OF_HEAD)
    begun = (n for n in (3, 2, 1) if not least and data.endswith(END_OF_HEAD[:n], at))
    return len(data) - next(begun, 0)
