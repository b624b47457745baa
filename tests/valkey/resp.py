"""The wire protocol of Valkey, versions 2 and 3, as far as a relay needs it.

Replies are int, float, bool, None, bytes (bulk strings), lists and dicts, and the types below.
See https://valkey.io/topics/protocol/.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Reply = Any


@dataclass(frozen=True, slots=True)
class Simple:
    """A simple string."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """An error: the whole line."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Push:
    """A push message from the server (RESP3)."""

    items: list[Reply]


class Incomplete(Exception):
    """Raised if the rest of a value has not arrived yet."""


def encode(reply: Reply) -> bytes:
    """Serialize a reply in a form that both versions of the protocol have."""
    match reply:
        case Simple(text):
            return b"+%b\r\n" % text
        case Failure(text):
            return b"-%b\r\n" % text
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case list():
            return b"*%d\r\n" % len(reply) + b"".join(map(encode, reply))
    raise TypeError(f"no reply is made of {type(reply).__name__}")


def command(*arguments: bytes | str | int | float) -> bytes:
    """Serialize a command."""
    texts = (a if isinstance(a, bytes) else str(a).encode() for a in arguments)
    return encode(list(texts))


class Stream:
    """Splits received bytes into values, each with its own bytes."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[tuple[Reply, bytes]]:
        """Yield the values that are complete. Raises ValueError for invalid bytes."""
        self._buffer += data
        start = 0
        try:
            while start < len(self._buffer):
                value, end = parse(self._buffer, start)
                yield value, self._buffer[start:end]
                start = end
        except Incomplete:
            pass
        self._buffer = self._buffer[start:]


def parse(data: bytes, start: int) -> tuple[Reply, int]:
    """Read one value from `start`, and return where it ends. Raises Incomplete and ValueError."""
    newline = data.find(b"\r\n", start)
    if newline < 0:
        raise Incomplete
    kind, text, end = data[start : start + 1], data[start + 1 : newline], newline + 2
    if kind in b"$=!":
        return _bulk(kind, data, end, int(text))
    if kind in b"*~>%|":
        return _aggregate(kind, data, end, int(text))
    match kind:
        case b"+":
            return Simple(text), end
        case b"-":
            return Failure(text), end
        case b":" | b"(":
            return int(text), end
        case b",":
            return float(text), end
        case b"#":
            return text == b"t", end
        case b"_":
            return None, end
    # An inline command: words on a line.
    return data[start:newline].split(), end


def _bulk(kind: bytes, data: bytes, start: int, length: int) -> tuple[Reply, int]:
    if length < 0:
        return None, start
    end = start + length
    if len(data) < end + 2:
        raise Incomplete
    value = data[start:end]
    return (Failure(value) if kind == b"!" else value), end + 2


def _aggregate(kind: bytes, data: bytes, start: int, length: int) -> tuple[Reply, int]:
    if length < 0:
        return None, start
    items: list[Reply] = []
    end = start
    for _ in range(2 * length if kind in b"%|" else length):
        item, end = parse(data, end)
        items.append(item)
    if kind == b"|":  # an attribute of the value that follows
        return parse(data, end)
    if kind == b"%":
        return dict(zip(items[::2], items[1::2], strict=True)), end
    return (Push(items) if kind == b">" else items), end
