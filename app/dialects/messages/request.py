"""The dialect of Anthropic's Messages, and the fields of its requests that the cache reads.

https://platform.claude.com/docs/en/api/messages
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from app.core.cache_status import BypassReason, CacheStatus, DiscardReason, Replay
from app.core.models import Fullness
from app.dialects import documents, sse
from app.dialects.documents import DocumentReader, enclosed
from app.dialects.fields import digest_of_fields, field_of, unknown
from app.dialects.messages.events import events_of
from app.dialects.messages.fitness import judged, why_not_stored
from app.dialects.messages.reader import EventsReader
from app.dialects.messages.sameness import NEUTRAL_FIELDS, same_fields, same_messages
from app.dialects.messages.tools import structure_of, uses_servers
from app.dialects.sse import Event
from app.dialects.strict_json import JsonObject, load_object

_TEXT = 0  # replaces the last user turn's text in the key; no request has a number there
_TREATMENT = NEUTRAL_FIELDS - {"stream"}


class Form(NamedTuple):
    """The form of an answer: one document or a stream. Both forms have the usage."""

    stream: bool

    @property
    def entitled(self) -> Fullness:
        """Always `ALL`, because an answer of any form has the whole usage."""
        return Fullness.ALL


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """The parsed body of a Messages request; `document` is the whole body.

    `turn`: the index of the last message whose role is not system.
    `texts`: the texts of the message at `turn`, if the user wrote that message and all blocks of
    the message are texts. Otherwise `texts` is None, and all of the body must match exactly.
    `texts` is also None if `parse` was called with `exact_only`.
    """

    document: Mapping[str, Any] = field(repr=False)
    model: str
    messages: list[JsonObject] = field(repr=False)
    turn: int
    texts: Sequence[str] | None = field(repr=False)
    temperature: float | None
    user: str | None
    stream: bool

    messages_field = "messages"

    @classmethod
    def parse(cls, body: bytes, *, exact_only: bool = False) -> "MessagesRequest":
        """Parse the body of a request.

        With `exact_only`, no part of the body is matched by meaning. Raises NotUnderstood
        (`not-json`, `ambiguous-json`, `too-complex`, `unknown-body`).
        """
        document = load_object(body)
        messages = _messages(document.get("messages"))
        turn = _turn(messages)
        _check_content(document.get("system") or "")
        is_matched = messages[turn]["role"] == "user" and not exact_only
        return cls(
            document=document,
            model=field_of(document, "model", str) or unknown(),
            messages=messages,
            turn=turn,
            texts=_texts_of(messages[turn]["content"]) if is_matched else None,
            temperature=field_of(document, "temperature", int, float),
            user=field_of(field_of(document, "metadata", dict) or {}, "user_id", str),
            stream=field_of(document, "stream", bool) or False,
        )

    @property
    def form(self) -> Form:
        """The form of the answer that the request asks for."""
        return Form(self.stream)

    @property
    def must_match(self) -> Mapping[str, Any]:
        """The body in canonical form, without neutral fields, `cache_control` and `texts`."""
        messages = same_messages(self.messages)
        if self.texts is not None:
            turn = messages[self.turn]
            turn["content"] = _without_texts(turn["content"])
        return {**same_fields(self.document), "messages": messages}

    @property
    def end_user(self) -> Sequence[Any]:
        """The values in the body that identify the end user."""
        return [self.user]

    @property
    def treatment(self) -> str:
        """A digest of the fields that change the handling of the request, but not the answer."""
        return digest_of_fields(self.document, _TREATMENT)

    @property
    def question(self) -> str:
        """The text of the last user turn; empty if that turn contains a tool's result.

        If the turn contains a tool's result, the answer depends on the result. The result is
        part of the key.
        """
        users = [message for message in self.messages if message["role"] == "user"]
        content = users[-1]["content"] if users else ""
        told_by_tool = any(b["type"] == "tool_result" for b in content if isinstance(b, dict))
        return "" if told_by_tool else _words_of(content)

    @property
    def instructions(self) -> Sequence[str]:
        """The text of the field `system`, of system messages, and of the user's first turn.

        The user's first turn is left out if it is also the last turn.
        """
        users = [at for at, message in enumerate(self.messages) if message["role"] == "user"]
        first = users[0] if users and users[0] != self.turn else None
        return [
            _words_of(self.document.get("system") or ""),
            *(
                _words_of(message["content"])
                for at, message in enumerate(self.messages)
                if message["role"] == "system" or at == first
            ),
        ]

    def bypass_reason(self, max_temperature: float) -> BypassReason | None:
        """Return why the request must not use the cache, or None if it may use the cache."""
        if self.document.get("thread") is not None:
            return "conversation"
        if uses_servers(self.document):
            return "hosted-tool"
        if self.temperature is not None and self.temperature > max_temperature:
            return "temperature"
        return None

    def reader(self, *, is_stream: bool) -> EventsReader | DocumentReader:
        """Return a reader for an event stream if `is_stream`, else for a JSON document."""
        judge = partial(judged, structure=structure_of(self.document))
        return EventsReader(judge) if is_stream else DocumentReader(judge)

    def render(self, content: bytes, status: CacheStatus, *, nonce: str, now: float) -> Replay:
        """Render `content`, a stored message, in the form that the request asks for.

        `ParsedRequest.render` explains the parameters. Raises ValueError if `content` is invalid.
        """
        message_id = f"msg_{nonce}"
        request_id = (b"request-id", f"req_{nonce}".encode())
        if not self.stream:
            body = enclosed(content, {"id": message_id})
            return documents.json_replay(body, status, request_id)
        try:
            events = list(events_of(json.loads(content), message_id))
        except (AttributeError, LookupError, TypeError, RecursionError) as error:
            raise ValueError("the stored message has an unexpected shape") from error
        told = [sse.encode_event(Event(sse.json_data(event), event["type"])) for event in events]
        return documents.stream_replay(b"".join(told), status, request_id)

    def narrowing(self, leader: object) -> None:
        """Return None, because no filter is ever needed or possible.

        All streams of this API have one form, and no filter can turn a document into a stream.
        """


class Messages:
    """The dialect of `POST /v1/messages`. With `exact_only`, no text is matched by meaning."""

    name = "message"

    def __init__(self, *, exact_only: bool = False) -> None:
        self._exact_only = exact_only

    def why_not_stored(self, content: Mapping[str, Any]) -> DiscardReason | None:
        """Return why an imported message must not be stored, or None if it may be stored."""
        return why_not_stored(content)

    def parse(self, body: bytes) -> MessagesRequest:
        """Parse the body of a request. Raises NotUnderstood."""
        return MessagesRequest.parse(body, exact_only=self._exact_only)


def _messages(messages: object) -> list[JsonObject]:
    if not isinstance(messages, list) or not messages:
        unknown()
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            unknown()
        _check_content(message.get("content"))
    return messages


def _check_content(content: object) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        unknown()
    if not all(isinstance(b, dict) and isinstance(b.get("type"), str) for b in content):
        unknown()


def _turn(messages: Sequence[JsonObject]) -> int:
    """Return the index of the last message whose role is not system.

    The result is 0 if there is no such message.
    """
    places = range(len(messages) - 1, 0, -1)
    return next((place for place in places if messages[place]["role"] != "system"), 0)


def _texts_of(content: str | list[JsonObject]) -> list[str] | None:
    """Return the text of each block of a message's content, or None if any block is not a text."""
    if isinstance(content, str):
        return [content]
    texts = [text for b in content if b["type"] == "text" if isinstance(text := b.get("text"), str)]
    return texts if texts and len(texts) == len(content) else None


def _words_of(content: str | list[JsonObject]) -> str:
    """Return all texts of a message's content, joined by line ends.

    Blocks without a text are left out.
    """
    if isinstance(content, str):
        return content
    texts = (block.get("text") for block in content)
    return "\n".join(text for text in texts if isinstance(text, str))


def _without_texts(content: object) -> object:
    return [{**block, "text": _TEXT} for block in content] if isinstance(content, list) else _TEXT
