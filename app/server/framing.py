"""Where the parts of an HTTP/1.1 message end (RFC 9112), in bytes that may come in any pieces."""

import re

END_OF_HEAD = b"\r\n\r\n"
"""Ends a head, and a chunked body."""

_OFFER = re.compile(rb"(?i)\r\nupgrade[ \t]*:[^\r\n]*")
_OFFER_BUT_WEBSOCKET = re.compile(rb"(?i)\r\nupgrade[ \t]*:(?![^\r\n]*websocket)[^\r\n]*")


def without_offer(head: bytes) -> bytes:
    """Return a head without the offer to speak another protocol, but for a WebSocket's."""
    offer = _OFFER_BUT_WEBSOCKET if head.startswith(b"GET ") else _OFFER
    return offer.sub(b"", head)


def empty_lines(data: bytes, at: int) -> int:
    """Return how many bytes of empty lines there are from `at` on."""
    rest = data[at:]
    return len(rest) - len(rest.lstrip(b"\r\n"))


def end_of_head(data: bytes, at: int) -> int:
    """Return the index after a head, or after what cannot be one; `at` if more must come first."""
    end = data.find(END_OF_HEAD, at)
    if end >= 0:
        return end + len(END_OF_HEAD)
    return at if _may_begin_a_head(data[at:]) else len(data)


def _may_begin_a_head(data: bytes) -> bool:
    """Whether data may become a head with more bytes; the parser refuses what cannot."""
    return data[:1].isupper() and b"\n\n" not in data


def end_of_chunks(data: bytes, at: int, least: int) -> int:
    """Return where a chunked body may end: behind an empty line, `least` bytes on or later.

    Without such a line that is the end of the data or, if `least` is 0, where a line that is not
    there yet may have begun.
    """
    end = data.find(END_OF_HEAD, at + least)
    if end >= 0:
        return end + len(END_OF_HEAD)
    begun = (n for n in (3, 2, 1) if not least and data.endswith(END_OF_HEAD[:n], at))
    return len(data) - next(begun, 0)
