"""A stored response as the bytes that a client asked for: JSON, or a stream of chunks."""

import json
from collections.abc import Iterator

from app.core.errors import NotUnderstood
from app.core.models import CacheStatus, Head, Replay
from app.dialects import sse
from app.dialects.chat_completions.chunks import chunks_of
from app.dialects.chat_completions.reader import DONE
from app.dialects.sse import Event, EventParser
from app.dialects.strict_json import load_json

_JSON = b"application/json"
_EVENT_STREAM = b"text/event-stream; charset=utf-8"


def replay(
    completion: bytes,
    status: CacheStatus,
    completion_id: str,
    now: float,
    *,
    include_usage: bool | None,
) -> Replay:
    """Render a completion: `completion_id`, created `now`, in seconds since 1970.

    `completion` is as in StoredResponse. `include_usage`: as a stream, with usage or without; None:
    as a JSON document. Raises ValueError where it cannot be read.
    """
    if include_usage is None:
        body = _document(completion, _envelope(completion_id, "chat.completion", int(now)))
        media_type = _JSON
    else:
        envelope = _envelope(completion_id, "chat.completion.chunk", int(now))
        body = b"".join(_events(completion, envelope, include_usage=include_usage))
        media_type = _EVENT_STREAM
    headers = [(b"content-type", media_type), (b"content-length", b"%d" % len(body))]
    return Replay(Head(200, headers, status), body)


class WithoutUsage:
    """Leaves the usage out of a stream of chunks; what is not a chunk stays as it is.

    So do comments: some servers send them while a model thinks, lest clients give up.
    """

    def __init__(self) -> None:
        self._events = EventParser(keeps_comments=True)

    def feed(self, data: bytes) -> bytes:
        """Return what is to be sent of the next bytes. Raises UnicodeDecodeError."""
        events = self._events.feed(data)
        comments = map(sse.encode_comment, self._events.comments())
        return b"".join([*comments, *map(without_usage, events)])

    def flush(self) -> bytes:
        """Return what is left at the clean end."""
        return b"".join(map(without_usage, self._events.flush()))


def without_usage(event: Event) -> bytes:
    """Write an event of an upstream's stream again, for a reader who has not asked for usage.

    A chunk that tells nothing else is left out; what is no chunk, or has no usage, stays as it is.
    """
    try:
        chunk = load_json(event.data)
    except NotUnderstood:
        return sse.encode_event(event)
    if not isinstance(chunk, dict) or "usage" not in chunk:
        return sse.encode_event(event)
    if chunk["usage"] is not None and not chunk.get("choices"):
        return b""
    rest = {name: value for name, value in chunk.items() if name != "usage"}
    return sse.encode_event(event._replace(data=sse.json_data(rest)))


def _envelope(completion_id: str, kind: str, created: int) -> bytes:
    return f'{{"id":"{completion_id}","object":"{kind}","created":{created},'.encode()


def _document(document: bytes, envelope: bytes) -> bytes:
    """Put the envelope before the fields of a JSON object, without parsing the object."""
    if not document.startswith(b"{") or not document.endswith(b"}"):
        raise ValueError("the stored completion is not a JSON object")
    return envelope + document[1:]


def _events(completion: bytes, envelope: bytes, *, include_usage: bool) -> Iterator[bytes]:
    try:
        chunks = list(chunks_of(json.loads(completion), include_usage=include_usage))
    except (AttributeError, LookupError, TypeError, RecursionError) as error:
        raise ValueError("the stored completion has another shape") from error
    for chunk in chunks:
        yield sse.encode(_document(sse.json_data(chunk).encode(), envelope))
    yield sse.encode(DONE.encode())
