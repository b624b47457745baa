"""Code for OpenAI's two completions APIs. Both answer with a JSON document or a stream.

A stream consists of chunks and a final `[DONE]`. It has `usage` only if the request asks for usage.
https://platform.openai.com/docs/api-reference/chat-streaming
https://platform.openai.com/docs/api-reference/completions
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from app.core.cache_status import CacheStatus, Replay
from app.core.errors import NotUnderstood
from app.core.models import Fullness
from app.dialects import documents, sse
from app.dialects.dialect import Answer
from app.dialects.documents import Judge, enclosed
from app.dialects.sse import Event, EventParser
from app.dialects.strict_json import JsonObject, load_json

DONE = "[DONE]"
"""The data of the event that ends a stream of chunks."""

_ENVELOPE = frozenset({"id", "object", "created", "obfuscation"})


class Form(NamedTuple):
    """The form of an answer: one document, a stream without usage, or a stream with usage."""

    stream: bool
    include_usage: bool

    @property
    def entitled(self) -> Fullness:
        """How much of `usage` the upstream sends in an answer of this form."""
        if not self.stream:
            return Fullness.ALL
        return Fullness.STREAMED if self.include_usage else Fullness.PLAIN


class Builder(Protocol):
    """Builds a document from the chunks of one stream."""

    def add(self, chunk: object) -> None:
        """Take the next chunk. Raises NotUnderstood if the chunk is invalid."""

    def completion(self) -> JsonObject:
        """Return the document that is made of all chunks so far."""


class ChunksReader:
    """Reads a stream of chunks."""

    def __init__(self, builder: Builder, judge: Judge) -> None:
        self._builder = builder
        self._judge = judge
        self._events = EventParser()
        self.is_complete = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. Raises NotUnderstood or UnicodeDecodeError."""
        for event in self._events.feed(data):
            self._take(event)
        if self._events.unfinished == [DONE]:
            self.is_complete = True  # clients may disconnect at this line, before its blank line

    def end(self) -> None:
        """End the stream: take the last event if its final blank line is missing."""
        for event in self._events.flush():
            self._take(event)

    def read(self) -> Answer:
        """Return the answer that is made of all chunks. Raises NotUnderstood."""
        return self._judge(self._builder.completion())

    def _take(self, event: Event) -> None:
        if self.is_complete:
            return
        if event.data.strip() == DONE:
            self.is_complete = True
        elif event.type == "error":
            raise NotUnderstood("unknown-body")
        elif not sse.is_idle(event):
            self._builder.add(load_json(event.data))


def without_envelope(document: Mapping[str, Any]) -> JsonObject:
    """Return a document without its envelope: the fields that each replay sets anew."""
    return {name: value for name, value in document.items() if name not in _ENVELOPE}


def chunks_of(
    document: Mapping[str, Any],
    cut: Callable[[JsonObject], Iterable[JsonObject]],
    repeated: Collection[str],
    *,
    include_usage: bool,
) -> Iterator[JsonObject]:
    """Cut a document into the chunks of a stream, and yield the chunks without the envelope.

    The chunks of one choice come before those of the next choice. `cut` cuts a choice into pieces.
    Every chunk has the fields in `repeated`. Other fields, except choices and usage, are only in
    the first chunk. With `include_usage`, the last chunk has the usage and no choices.
    """
    usage = document.get("usage") if include_usage else None
    once = {n: v for n, v in document.items() if n not in {"choices", "usage"}}
    always = {n: v for n, v in once.items() if n in repeated}
    if usage is not None:
        always["usage"] = None
    for choice in document["choices"]:
        for told in cut(choice):
            yield {**always, **once, "choices": [told]}
            once = {}
    if usage is not None:
        yield {**always, "choices": [], "usage": usage}


def replay_document(content: bytes, status: CacheStatus, envelope: Mapping[str, Any]) -> Replay:
    """Render `content`, a stored document, with a new envelope.

    Raises ValueError if `content` is not a JSON object.
    """
    return documents.json_replay(enclosed(content, envelope), status)


def replay_chunks(
    content: bytes,
    status: CacheStatus,
    envelope: Mapping[str, Any],
    cut: Callable[[JsonObject], Iterable[JsonObject]],
) -> Replay:
    """Render `content`, a stored document, as a stream of chunks.

    `cut` turns the document into chunks. The fields of `envelope` are added to each chunk. Raises
    ValueError if `content` cannot be read.
    """
    return documents.stream_replay(b"".join(_events(content, envelope, cut)), status)


def _events(
    content: bytes,
    envelope: Mapping[str, Any],
    cut: Callable[[JsonObject], Iterable[JsonObject]],
) -> Iterator[bytes]:
    try:
        chunks = list(cut(json.loads(content)))
    except (AttributeError, LookupError, TypeError, RecursionError) as error:
        raise ValueError("the stored completion has an unexpected shape") from error
    for chunk in chunks:
        yield sse.encode(enclosed(sse.json_data(chunk).encode(), envelope))
    yield sse.encode(DONE.encode())


class WithoutUsage:
    """Removes the usage from a stream of chunks; events that are not chunks stay unchanged.

    Comments also stay unchanged. Some servers send comments while a model thinks, so that clients
    do not time out.
    """

    def __init__(self) -> None:
        self._events = EventParser(keeps_comments=True)

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return the bytes that can be sent now. Raises UnicodeDecodeError."""
        events = self._events.feed(data)
        comments = map(sse.encode_comment, self._events.comments())
        return b"".join([*comments, *map(without_usage, events)])

    def flush(self) -> bytes:
        """Return the bytes that are left to send after the stream has ended without an error."""
        return b"".join(map(without_usage, self._events.flush()))


def narrowing(leader: object, form: Form) -> WithoutUsage | None:
    """Return a filter that turns a stream of form `leader` into a stream of form `form`.

    `leader` is the form in which the upstream sends the answer. The result is None if no filter can
    make this change. A filter can remove usage but cannot add it. A stream of form `leader` must
    therefore have at least as much usage as a stream of form `form`.
    """
    if not isinstance(leader, Form) or leader.entitled < form.entitled:
        return None
    return WithoutUsage() if leader.stream and form.stream else None


def without_usage(event: Event) -> bytes:
    """Return an event of an upstream's stream as bytes, without the usage.

    The result is empty for a chunk that has only usage. Two kinds of events stay unchanged: events
    that are not chunks, and chunks without usage.
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
