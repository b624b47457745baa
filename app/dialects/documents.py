"""Reads and writes answers that are one JSON document (not streamed)."""

from collections.abc import Callable, Mapping
from typing import Any

from app.core.cache_status import CacheStatus, Head, Replay
from app.core.models import Header
from app.dialects.dialect import Answer
from app.dialects.strict_json import JsonObject, compact, load_object

_JSON = b"application/json"
_EVENT_STREAM = b"text/event-stream; charset=utf-8"

Judge = Callable[[JsonObject], Answer]
"""A function that turns a document into an Answer. The Answer says whether the document may be
stored, shared, and matched by meaning."""


class DocumentReader:
    """Reads one JSON document; `judge` turns the document into an Answer."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._body: list[bytes] = []
        self.is_complete = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._body.append(data)

    def end(self) -> None:
        """Do nothing: the document ends where the body ends."""

    def read(self) -> Answer:
        """Return the document as an Answer. Raises NotUnderstood."""
        return self._judge(load_object(b"".join(self._body)))


def written(document: Mapping[str, Any]) -> bytes:
    """Return a document as JSON without spaces, in UTF-8."""
    return compact(document).encode()


def enclosed(document: bytes, envelope: Mapping[str, Any]) -> bytes:
    """Return `document`, a JSON object, with the fields of `envelope` before all other fields.

    This function does not parse `document`. Raises ValueError if `document` does not begin and end
    with a brace.
    """
    if not document.startswith(b"{") or not document.endswith(b"}"):
        raise ValueError("the stored content is not a JSON object")
    return written(envelope)[:-1] + b"," + document[1:]


def json_replay(body: bytes, status: CacheStatus, *headers: Header) -> Replay:
    """Return a replay whose body is a JSON document."""
    return _replay(body, _JSON, status, *headers)


def stream_replay(body: bytes, status: CacheStatus, *headers: Header) -> Replay:
    """Return a replay whose body is a whole event stream."""
    return _replay(body, _EVENT_STREAM, status, *headers)


def _replay(body: bytes, media_type: bytes, status: CacheStatus, *headers: Header) -> Replay:
    told = [(b"content-type", media_type), (b"content-length", b"%d" % len(body)), *headers]
    return Replay(Head(200, told, status), body)
