"""Reads the answer to a chat completion request, whole or in chunks, and judges it."""

import json
from typing import Any

from app.core.errors import NotUnderstood
from app.core.models import Fullness
from app.dialects import sse
from app.dialects.chat_completions import fitness
from app.dialects.chat_completions.chunks import CompletionBuilder, without_envelope
from app.dialects.chat_completions.structured import Structure
from app.dialects.dialect import Answer
from app.dialects.sse import Event, EventParser
from app.dialects.strict_json import JsonObject, load_json

DONE = "[DONE]"
"""The data of the event that ends a stream of chunks."""


class DocumentReader:
    """Reads one JSON document; `choices` and `structure` are what was asked for."""

    def __init__(self, choices: int, structure: Structure, entitled: Fullness) -> None:
        self._choices = choices
        self._structure = structure
        self._entitled = entitled
        self._body: list[bytes] = []
        self.is_complete = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._body.append(data)

    def end(self) -> None:
        """Do nothing: the end of the body is that of the document."""

    def read(self) -> Answer:
        """Return what the answer adds up to. Raises NotUnderstood."""
        document = load_json(b"".join(self._body))
        if not isinstance(document, dict):
            raise NotUnderstood("unknown-body")
        return judged(without_envelope(document), self._choices, self._structure, self._entitled)


class ChunksReader:
    """Reads a stream of chunks."""

    def __init__(self, choices: int, structure: Structure, entitled: Fullness) -> None:
        self._choices = choices
        self._structure = structure
        self._entitled = entitled
        self._events = EventParser()
        self._builder = CompletionBuilder()
        self.is_complete = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. Raises NotUnderstood or UnicodeDecodeError."""
        for event in self._events.feed(data):
            self._take(event)
        if self._events.unfinished == [DONE]:
            self.is_complete = True  # clients read lines and may leave at this one

    def end(self) -> None:
        """Take what the end of the body completes."""
        for event in self._events.flush():
            self._take(event)

    def read(self) -> Answer:
        """Return what the chunks add up to. Raises NotUnderstood."""
        return judged(
            without_envelope(self._builder.completion()),
            self._choices,
            self._structure,
            self._entitled,
        )

    def _take(self, event: Event) -> None:
        if self.is_complete:
            return
        if event.data.strip() == DONE:
            self.is_complete = True
        elif event.type == "error":
            raise NotUnderstood("unknown-body")
        elif not sse.is_idle(event):
            self._builder.add(load_json(event.data))


def judged(
    completion: JsonObject, choices: int, structure: Structure, entitled: Fullness
) -> Answer:
    """Return a completion as an answer, with what may become of it.

    Without `usage` it has what the upstream gives to such a request, perhaps not all that it has.
    """
    unfit = fitness.why_not_stored(completion, choices, structure)
    may_be_shared = fitness.may_be_shared(unfit)
    content: dict[str, Any] = completion if may_be_shared else {}
    return Answer(
        json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(),
        entitled if completion.get("usage") is None else Fullness.ALL,
        unfit,
        may_be_shared,
        exact_only=unfit is None and fitness.is_exact_only(completion, structure),
    )
