"""Server-sent events: an incremental parser, and an encoder. Neither does I/O.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from app.dialects.strict_json import compact

_BOM = b"\xef\xbb\xbf"
_LF = 0x0A
# Many clients split lines at these characters, though the format of event streams does not.
# The characters occur only inside JSON strings, so they can be escaped.
_LINE_ENDS = MappingProxyType({ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"})


class Event(NamedTuple):
    """One event: its data and its type. The type is `message` if the stream does not name one."""

    data: str
    type: str = "message"


class EventParser:
    """Parses a byte stream into events. The stream may be split between any two bytes."""

    def __init__(self, *, keeps_comments: bool = False) -> None:
        self._unfinished: list[bytes] = []  # pieces of a line, joined once when it ends
        self._keeps_comments = keeps_comments
        self._comments: list[bytes] = []
        self._data: list[str] = []
        self._type = ""
        self._first_line = True
        self._after_cr = False

    @property
    def unfinished(self) -> Sequence[str]:
        """The data lines of an event whose final blank line has not been received yet."""
        return self._data

    def comments(self) -> list[bytes]:
        """Return the text of each comment received since the last call.

        The list is always empty if the parser was made without `keeps_comments`.
        """
        comments, self._comments = self._comments, []
        return comments

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes, and return the events that end in these bytes.

        Raises UnicodeDecodeError if the stream is not UTF-8.
        """
        if self._after_cr and chunk:
            # The CR ended the line already; this LF is the rest of a CRLF that was split in two.
            self._after_cr = False
            if chunk[0] == _LF:
                chunk = chunk[1:]
        events: list[Event] = []
        for line in chunk.splitlines(keepends=True):
            self._unfinished.append(line)
            if line.endswith((b"\n", b"\r")):
                events += self._end_of_line()
        if chunk.endswith(b"\r"):
            self._after_cr = True
        return events

    def flush(self) -> list[Event]:
        """Return the last event, in a list, if the stream ended without the event's blank line.

        Otherwise the list is empty. The standard requires clients to drop an event without its
        blank line, but OpenAI's clients and most other clients keep this event.
        """
        events = self._end_of_line() if self._unfinished else []
        return events + self._dispatch()

    def _end_of_line(self) -> list[Event]:
        line = b"".join(self._unfinished).rstrip(b"\r\n")
        self._unfinished.clear()
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        if not field:
            if self._keeps_comments:
                self._comments.append(value)
            return []
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value.decode())
        elif field == b"event":
            self._type = value.decode()
        return []

    def _dispatch(self) -> list[Event]:
        events = [Event("\n".join(self._data), self._type or "message")] if self._data else []
        self._data.clear()
        self._type = ""
        return events


def is_idle(event: Event) -> bool:
    """Whether an event only keeps the connection alive: a ping, or an event without data."""
    data = event.data.strip()
    return data in {"", "{}"} or (event.type == "ping" and '"choices"' not in data)


def json_data(document: Mapping[str, Any]) -> str:
    """Return a JSON document as the data of an event.

    The data is one line. Unicode line separators in the data are escaped.
    """
    return compact(document).translate(_LINE_ENDS)


def encode_comment(text: bytes) -> bytes:
    """Return a comment line as bytes; clients ignore comments."""
    return b":" + text + b"\n\n"


def encode(data: bytes) -> bytes:
    """Return an event of type `message` as bytes. The data, `data`, must be one line."""
    return b"data: " + data + b"\n\n"


def encode_event(event: Event) -> bytes:
    """Return an event of any type as bytes. The event's data may have several lines."""
    kind = b"" if event.type == "message" else b"event: " + event.type.encode() + b"\n"
    return kind + encode(event.data.replace("\n", "\ndata: ").encode())
