"""Finds where a head or body of HTTP/1.1 ends (RFC 9112), in data that arrive in pieces."""

import re

END_OF_HEAD = b"\r\n\r\n"
"""The last bytes of a head. They are also the last bytes of a chunked body."""

_OFFER = re.compile(rb"(?i)\r\nupgrade[ \t]*:[^\r\n]*")
_OFFER_BUT_WEBSOCKET = re.compile(rb"(?i)\r\nupgrade[ \t]*:(?![^\r\n]*websocket)[^\r\n]*")


def without_offer(head: bytes) -> bytes:
    """Return the head of a request without the `Upgrade` field.

    The field is kept if the method is GET and the field asks for a WebSocket.
    """
    offer = _OFFER_BUT_WEBSOCKET if head.startswith(b"GET ") else _OFFER
    return offer.sub(b"", head)


def empty_lines(data: bytes, at: int) -> int:
    """Return the number of bytes in the empty lines that begin at the index `at` of `data`."""
    rest = data[at:]
    return len(rest) - len(rest.lstrip(b"\r\n"))


def end_of_head(data: bytes, at: int) -> int:
    """Return the index in `data` just after the head that begins at the index `at`.

    If the head is not complete yet, return `at`. If the data at `at` are not a head, return the
    length of `data`.
    """
    end = data.find(END_OF_HEAD, at)
    if end >= 0:
        return end + len(END_OF_HEAD)
    return at if _may_begin_a_head(data[at:]) else len(data)


def _may_begin_a_head(data: bytes) -> bool:
    """Return whether `data` may be the beginning of a head. The parser refuses other data."""
    return data[:1].isupper() and b"\n\n" not in data


def end_of_chunks(data: bytes, at: int, least: int) -> int:
    """Return the index in `data` just after the next empty line, where a chunked body may end.

    The search begins `least` bytes after the index `at`. If there is no empty line, return the
    length of `data`, with one exception. If `least` is 0 and `data` ends with the first bytes of
    `END_OF_HEAD`, return the index at which these bytes begin.
    """
    end = data.find(END_OF_HEAD, at + least)
    if end >= 0:
        return end + len(END_OF_HEAD)
    begun = (n for n in (3, 2, 1) if not least and data.endswith(END_OF_HEAD[:n], at))
    return len(data) - next(begun, 0)
