"""The dialect of chat completions, and the fields of its requests that the cache reads.

https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app.core.cache_status import BypassReason, CacheStatus, DiscardReason, Replay
from app.core.models import CHAT_COMPLETION
from app.dialects import chunked
from app.dialects.chat_completions import fitness
from app.dialects.chat_completions.chunks import chunks_of
from app.dialects.chat_completions.reader import reader
from app.dialects.chat_completions.sameness import same_fields, same_messages
from app.dialects.chat_completions.structured import structure_of
from app.dialects.chunked import ChunksReader, Form, WithoutUsage
from app.dialects.documents import DocumentReader
from app.dialects.fields import field_of, unknown
from app.dialects.openai import treatment_of, without_neutral
from app.dialects.strict_json import JsonObject, load_object

_REMINDERS = frozenset({"system", "developer"})
_TEXT = 0  # replaces the last user turn's text in the key; no request has a number there


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """The parsed body of a chat completion request; `document` is the whole body.

    `turn`: the index of the last message whose role is not system or developer.
    `texts`: the texts of the message at `turn`, if the user wrote that message and all parts of the
    message are texts. Otherwise `texts` is None, and all of the body must match exactly.
    """

    document: Mapping[str, Any] = field(repr=False)
    model: str
    messages: list[JsonObject] = field(repr=False)
    turn: int
    texts: Sequence[str] | None = field(repr=False)
    choices: int
    temperature: float | None
    stream: bool
    include_usage: bool

    messages_field = "messages"

    @classmethod
    def parse(cls, body: bytes, *, needs_model: bool = True) -> "ChatRequest":
        """Parse the body of a request; `needs_model` is False if the path names the model.

        Raises NotUnderstood (`not-json`, `ambiguous-json`, `too-complex`, `unknown-body`).
        """
        document = load_object(body)
        options = field_of(document, "stream_options", dict) or {}
        messages = _messages(document.get("messages"))
        turn = _turn(messages)
        is_user = messages[turn]["role"] == "user"
        return cls(
            document=document,
            model=_model(document, needs_model=needs_model),
            messages=messages,
            turn=turn,
            texts=texts_of(messages[turn].get("content")) if is_user else None,
            choices=1 if (n := field_of(document, "n", int)) is None else n,
            temperature=field_of(document, "temperature", int, float),
            stream=field_of(document, "stream", bool) or False,
            include_usage=field_of(options, "include_usage", bool) or False,
        )

    @property
    def form(self) -> Form:
        """The form of the answer that the request asks for."""
        return Form(self.stream, self.stream and self.include_usage)

    @property
    def must_match(self) -> Mapping[str, Any]:
        """The body in canonical form, without neutral fields and without `texts`."""
        messages = same_messages(self.messages)
        if self.texts is not None:
            turn = messages[self.turn]
            turn["content"] = _without_texts(turn["content"])
        return {**same_fields(without_neutral(self.document)), "messages": messages}

    @property
    def end_user(self) -> Sequence[Any]:
        """The values in the body that identify the end user."""
        return [self.document.get("user"), self.document.get("safety_identifier")]

    @property
    def treatment(self) -> str:
        """A digest of the fields that change the handling of the request, but not the answer."""
        return treatment_of(self.document)

    @property
    def question(self) -> str:
        """The text of the last user turn; empty if a tool's result follows that turn.

        If a tool's result follows, the answer depends on the result. The result is part of the key.
        """
        for message in reversed(self.messages):
            if message["role"] == "user":
                return _text_of(message.get("content"))
            if message["role"] in {"tool", "function"}:
                break
        return ""

    @property
    def instructions(self) -> Sequence[str]:
        """The texts of system and developer messages, and the text of the user's first turn.

        The user's first turn is left out if it is also the last turn.
        """
        first = next((at for at, m in enumerate(self.messages) if m["role"] == "user"), self.turn)
        return [
            _text_of(message.get("content"))
            for at, message in enumerate(self.messages)
            if message["role"] in _REMINDERS or at == first != self.turn
        ]

    def bypass_reason(self, max_temperature: float) -> BypassReason | None:
        """Return why the request must not use the cache, or None if it may use the cache."""
        body = self.document
        if body.get("store") not in (None, False):
            return "store"
        if body.get("web_search_options") is not None:
            return "web-search"
        if body.get("plugins") is not None:
            return "plugins"
        if self._uses_audio():
            return "audio"
        if self.temperature is not None and self.temperature > max_temperature:
            return "temperature"
        return None

    def reader(self, *, is_stream: bool) -> ChunksReader | DocumentReader:
        """Return a reader for a stream of chunks if `is_stream`, else for a JSON document."""
        structure = structure_of(self.document)
        return reader(self.choices, structure, self.form.entitled, is_stream=is_stream)

    def render(self, content: bytes, status: CacheStatus, *, nonce: str, now: float) -> Replay:
        """Render `content`, a stored completion, in the form that the request asks for.

        `ParsedRequest.render` explains the parameters. Raises ValueError if `content` is invalid.
        """
        envelope = {"id": f"chatcmpl-{nonce}", "object": "chat.completion", "created": int(now)}
        if not self.stream:
            return chunked.replay_document(content, status, envelope)
        envelope["object"] = "chat.completion.chunk"
        cut = partial(chunks_of, include_usage=self.include_usage)
        return chunked.replay_chunks(content, status, envelope, cut)

    def narrowing(self, leader: object) -> WithoutUsage | None:
        """Return a filter that changes a stream from form `leader` to the form of this request.

        `leader` is the form in which the upstream sends the answer. The result is None if no filter
        can make this change.
        """
        return chunked.narrowing(leader, self.form)

    def _uses_audio(self) -> bool:
        modalities = self.document.get("modalities")
        if self.document.get("audio") is not None:
            return True
        if modalities is not None and modalities != ["text"]:
            return True
        return any(m.get("audio") is not None or _has_audio_part(m) for m in self.messages)


class ChatCompletions:
    """The dialect of `POST /v1/chat/completions`.

    `needs_model` is False if the path, not the body, names the model.
    """

    name = CHAT_COMPLETION

    def __init__(self, *, needs_model: bool = True) -> None:
        self._needs_model = needs_model

    def why_not_stored(self, content: Mapping[str, Any]) -> DiscardReason | None:
        """Return why an imported completion must not be stored, or None if it may be stored."""
        choices = content.get("choices")
        count = len(choices) if isinstance(choices, list) else 0
        return fitness.why_not_stored(content, count)

    def parse(self, body: bytes) -> ChatRequest:
        """Parse the body of a request. Raises NotUnderstood."""
        return ChatRequest.parse(body, needs_model=self._needs_model)


def _without_texts(content: object) -> object:
    return [{**part, "text": _TEXT} for part in content] if isinstance(content, list) else _TEXT


def _has_audio_part(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any("audio" in part["type"] for part in content)


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(text for part in parts if isinstance(text := part.get("text"), str))


def _model(document: Mapping[str, Any], *, needs_model: bool) -> str:
    model = field_of(document, "model", str)
    return "" if model is None and not needs_model else model or unknown()


def _turn(messages: Sequence[JsonObject]) -> int:
    """Return the index of the last message whose role is not system or developer.

    The result is 0 if there is no such message.
    """
    places = range(len(messages) - 1, 0, -1)
    return next((place for place in places if messages[place]["role"] not in _REMINDERS), 0)


def _messages(messages: object) -> list[JsonObject]:
    if not isinstance(messages, list) or not messages:
        unknown()
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            unknown()
        content = message.get("content")
        if isinstance(content, list):
            if not all(isinstance(p, dict) and isinstance(p.get("type"), str) for p in content):
                unknown()
        elif content is not None and not isinstance(content, str):
            unknown()
    return messages


def texts_of(content: object) -> list[str] | None:
    """Return the text of each part of a message's content, or None if any part is not a text."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list) or not content:
        return None
    texts = [part.get("text") for part in content if part["type"] == "text"]
    if len(texts) < len(content) or not all(isinstance(text, str) for text in texts):
        return None
    return texts
