"""The dialect of Responses, and the fields of its requests that the cache reads.

https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from app.core.cache_status import BypassReason, CacheStatus, DiscardReason, Replay
from app.core.models import Fullness
from app.dialects.documents import DocumentReader
from app.dialects.fields import field_of, unknown
from app.dialects.openai import treatment_of, without_neutral
from app.dialects.responses import fitness, replay
from app.dialects.responses.reader import EventsReader, judged
from app.dialects.responses.sameness import same_fields, same_items
from app.dialects.responses.structured import structure_of
from app.dialects.strict_json import JsonObject, load_object
from app.dialects.structure import objects

_REMINDERS = frozenset({"system", "developer"})
_OWN_TOOLS = frozenset({"function", "custom"})  # tools that the client runs, not the upstream
_RESULTS = ("_output",)  # the types of items that contain a tool's result end with this
_KNOWN_THERE = frozenset({"compaction", "item_reference"})  # items that refer to upstream data
_TEXT = 0  # replaces the last user turn's text in the key; no request has a number there


class Form(NamedTuple):
    """The form of an answer: one document or a stream. Both forms have the usage."""

    stream: bool
    entitled: Fullness = Fullness.ALL


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    """The parsed body of a Responses request; `document` is the whole body.

    `items`: the items of the input.
    `turn`: the index of the last item whose role is not system or developer; None if there is none.
    `is_kept`: whether the request asks the upstream to store the answer.
    `texts`: the texts of the item at `turn`, if the user wrote that item and all parts of the item
    are texts. Otherwise `texts` is None, and all of the body must match exactly. `texts` is
    also None if `parse` finds that the request must not be matched by meaning.
    """

    document: Mapping[str, Any] = field(repr=False)
    model: str
    items: list[JsonObject] = field(repr=False)
    turn: int | None
    texts: Sequence[str] | None = field(repr=False)
    is_kept: bool
    temperature: float | None
    stream: bool

    messages_field = "input"

    @classmethod
    def parse(cls, body: bytes, *, by_meaning: bool = False) -> "ResponsesRequest":
        """Parse the body of a request.

        `by_meaning`: whether a request may be matched by meaning even if the upstream stores the
        answer, or even if the request refers to data that only the upstream has.

        Raises NotUnderstood (`not-json`, `ambiguous-json`, `too-complex`, `unknown-body`).
        """
        document = load_object(body)
        tools = document.get("tools")
        if tools is not None and not _are_typed(tools):
            unknown()
        items = _items(document)
        turn = _turn(items)
        is_kept = field_of(document, "store", bool) is not False
        is_free = by_meaning or not (is_kept or _builds_on_what_is_not_told(document, items))
        is_free = is_free and document.get("moderation") is None
        return cls(
            document=document,
            model=field_of(document, "model", str) or unknown(),
            items=items,
            turn=turn,
            texts=_texts_of(items[turn]) if turn is not None and is_free else None,
            is_kept=is_kept,
            temperature=field_of(document, "temperature", int, float),
            stream=field_of(document, "stream", bool) or False,
        )

    @property
    def form(self) -> Form:
        """The form of the answer that the request asks for."""
        return Form(self.stream)

    @property
    def must_match(self) -> Mapping[str, Any]:
        """The body in canonical form, without neutral fields and without `texts`."""
        items = same_items(self.items)
        if self.texts is not None and self.turn is not None:
            turn = items[self.turn]
            turn["content"] = _without_texts(turn["content"])
        return {**same_fields(without_neutral(self.document)), "input": items}

    @property
    def end_user(self) -> Sequence[Any]:
        """The values in the body that identify the end user."""
        return [self.document.get("user"), self.document.get("safety_identifier")]

    @property
    def treatment(self) -> str:
        """A digest of the fields that change the handling of the request, but not the answer."""
        return treatment_of(self.document)

    @property
    def instructions(self) -> Sequence[str]:
        """The field `instructions`, and the texts of messages that may contain instructions.

        These messages are the system and developer messages, and the user's first turn. The first
        turn is left out if it is also the last turn.
        """
        told = self.document.get("instructions")
        users = [at for at, item in enumerate(self.items) if _role(item) == "user"]
        first = users[0] if users and users[0] != self.turn else None
        texts = [
            _words_of(item)
            for at, item in enumerate(self.items)
            if _role(item) in _REMINDERS or at == first
        ]
        return [told, *texts] if isinstance(told, str) else texts

    @property
    def question(self) -> str:
        """The text of the last user turn; empty if a tool's result follows that turn.

        If a tool's result follows, the answer depends on the result. The result is part of the key.
        """
        for item in reversed(self.items):
            if _role(item) == "user":
                return _words_of(item)
            if item.get("type", "").endswith(_RESULTS):
                break
        return ""

    def bypass_reason(self, max_temperature: float) -> BypassReason | None:
        """Return why the request must not use the cache, or None if it may use the cache."""
        body = self.document
        if field_of(body, "background", bool):
            return "background"
        if body.get("conversation") is not None:
            return "conversation"
        if body.get("prompt") is not None:  # a template stored upstream, which may have tools
            return "prompt"
        if any(tool["type"] not in _OWN_TOOLS for tool in self._tools()):
            return "hosted-tool"
        if self._uses_audio():
            return "audio"
        if self.temperature is not None and self.temperature > max_temperature:
            return "temperature"
        return None

    def reader(self, *, is_stream: bool) -> EventsReader | DocumentReader:
        """Return a reader for an event stream if `is_stream`, else for a JSON document."""
        structure = structure_of(self.document)
        judge = partial(judged, asked=self.document, structure=structure, is_kept=self.is_kept)
        return EventsReader(judge) if is_stream else DocumentReader(judge)

    def render(self, content: bytes, status: CacheStatus, *, nonce: str, now: float) -> Replay:
        """Render `content`, a stored response, in the form that the request asks for.

        `ParsedRequest.render` explains the parameters. Raises ValueError if `content` is invalid.

        A response that the upstream also stores keeps its id, so that clients can continue,
        retrieve and delete the response at the upstream.
        """
        anew = None if self.is_kept else replay.Anew(f"resp_{nonce}", int(now))
        return replay.replay(content, status, self.document, anew, stream=self.stream)

    def narrowing(self, leader: object) -> None:
        """Return None: streams need no filter, and no filter turns a document into a stream."""
        return

    def _tools(self) -> Iterator[JsonObject]:
        yield from objects(self.document.get("tools"))
        for item in self.items:
            if item.get("type") == "additional_tools":
                yield from objects(item.get("tools"))

    def _uses_audio(self) -> bool:
        modalities = self.document.get("modalities")
        if self.document.get("audio") is not None or modalities not in (None, ["text"]):
            return True
        return any(
            "audio" in part["type"]
            for item in self.items
            if isinstance(content := item.get("content"), list)
            for part in content
        )


class Responses:
    """The dialect of `POST /v1/responses`.

    `by_meaning`: whether a request may be matched by meaning even if the upstream stores the
    answer, or even if the request refers to data that only the upstream has.
    """

    name = "response"

    def __init__(self, *, by_meaning: bool = False) -> None:
        self._by_meaning = by_meaning

    def why_not_stored(self, content: Mapping[str, Any]) -> DiscardReason | None:
        """Return why an imported response must not be stored, or None if it may be stored."""
        return fitness.why_not_stored(content)

    def parse(self, body: bytes) -> ResponsesRequest:
        """Parse the body of a request. Raises NotUnderstood."""
        return ResponsesRequest.parse(body, by_meaning=self._by_meaning)


def _items(document: Mapping[str, Any]) -> list[JsonObject]:
    """Return the items of the input. A string counts as one message of the user."""
    told = document.get("input")
    if isinstance(told, str):
        return [{"role": "user", "content": told}]
    if told is None:  # a template or an earlier response is the whole input
        return []
    if not isinstance(told, list):
        unknown()
    for item in told:
        if not isinstance(item, dict) or not isinstance(item.get("type", "message"), str):
            unknown()
        if item.get("type", "message") == "message" and not _is_message(item):
            unknown()
        if isinstance(item.get("content"), list) and not _are_typed(item["content"]):
            unknown()
    return told


def _builds_on_what_is_not_told(document: Mapping[str, Any], items: Sequence[JsonObject]) -> bool:
    """Whether a request refers to earlier turns that the request itself does not contain.

    These turns may contain instructions that the cache cannot see.
    """
    is_continued = document.get("previous_response_id") is not None
    return is_continued or any(item.get("type") in _KNOWN_THERE for item in items)


def _is_message(item: JsonObject) -> bool:
    return isinstance(item.get("role"), str) and isinstance(item.get("content"), str | list)


def _are_typed(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, dict) and isinstance(value.get("type"), str) for value in values
    )


def _role(item: JsonObject) -> str:
    return item["role"] if item.get("type", "message") == "message" else ""


def _turn(items: Sequence[JsonObject]) -> int | None:
    """Return the index of the last item whose role is not system or developer.

    The result is None if there is no such item.
    """
    places = range(len(items) - 1, -1, -1)
    return next((place for place in places if _role(items[place]) not in _REMINDERS), None)


def _words_of(item: JsonObject) -> str:
    """Return all texts of a message, joined by line ends.

    Parts without a text are left out.
    """
    content = item.get("content")
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    return "\n".join(str(part["text"]) for part in content if "text" in part)


def _texts_of(item: JsonObject) -> list[str] | None:
    """Return the text of each part of a user's message.

    The result is None if `item` is not a user's message, or if any part is not a text.
    """
    content = item.get("content")
    if _role(item) != "user" or not content:
        return None
    if isinstance(content, str):
        return [content]
    texts = [part.get("text") for part in content if part["type"] == "input_text"]
    if len(texts) < len(content) or not all(isinstance(text, str) for text in texts):
        return None
    return texts


def _without_texts(content: object) -> object:
    return [{**part, "text": _TEXT} for part in content] if isinstance(content, list) else _TEXT
