"""Reads the answer to a Responses request, whole or in events, and judges it.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

import json
from collections.abc import Mapping
from typing import Any

from app.core.errors import NotUnderstood
from app.core.models import DiscardReason
from app.dialects.dialect import Answer
from app.dialects.responses import fitness
from app.dialects.responses.replay import without_echoes
from app.dialects.responses.structured import Structure
from app.dialects.sse import Event, EventParser
from app.dialects.strict_json import JsonObject, load_json

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_ITEM_DONE = "response.output_item.done"
_TOLD = (*_ENDS, _ITEM_DONE, '"error"')


class _Reader:
    """What readers of both forms share.

    `asked` is the body of the request, `structure` what it demands of the answer. `is_kept`: the
    upstream stores the answer too, under its id.
    """

    def __init__(self, asked: Mapping[str, Any], structure: Structure, *, is_kept: bool) -> None:
        self._asked = asked
        self._structure = structure
        self._is_kept = is_kept
        self.is_complete = False

    def _judged(self, response: JsonObject) -> Answer:
        """Return a response as an Answer that says how it may be stored, shared and matched."""
        unfit = fitness.why_not_stored(response, self._structure)
        may_be_shared = fitness.may_be_shared(unfit)
        content = without_echoes(response, self._asked) if may_be_shared else {}
        return Answer(
            json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(),
            unfit=unfit,
            may_be_shared=may_be_shared,
            exact_only=unfit is None and fitness.is_exact_only(response, self._structure),
            upstream_id=response["id"] if unfit is None and self._is_kept else "",
        )


class DocumentReader(_Reader):
    """Reads one JSON document."""

    def __init__(self, asked: Mapping[str, Any], structure: Structure, *, is_kept: bool) -> None:
        super().__init__(asked, structure, is_kept=is_kept)
        self._body: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._body.append(data)

    def end(self) -> None:
        """Do nothing: the end of the body is that of the document."""

    def read(self) -> Answer:
        """Return the judged document. Raises NotUnderstood."""
        document = load_json(b"".join(self._body))
        if not isinstance(document, dict):
            raise NotUnderstood("unknown-body")
        return self._judged(document)


class EventsReader(_Reader):
    """Reads a stream of events; the last one repeats the whole response."""

    def __init__(self, asked: Mapping[str, Any], structure: Structure, *, is_kept: bool) -> None:
        super().__init__(asked, structure, is_kept=is_kept)
        self._events = EventParser()
        self._items: dict[int, JsonObject] = {}
        self._response: JsonObject | None = None
        self._failure: DiscardReason | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. Raises NotUnderstood or UnicodeDecodeError."""
        for event in self._events.feed(data):
            self._take(event)

    def end(self) -> None:
        """Take the events that only the end of the body completes."""
        for event in self._events.flush():
            self._take(event)

    def read(self) -> Answer:
        """Return what the events add up to. Raises NotUnderstood."""
        if self._failure or self._response is None:
            return Answer(b"{}", unfit=self._failure or "incomplete", may_be_shared=False)
        response = self._response
        if response.get("output") is None:  # some servers send its items in their own events only
            response["output"] = [item for _, item in sorted(self._items.items())]
        return self._judged(response)

    def _take(self, event: Event) -> None:
        # Most events are deltas. They need not be parsed: the last event has what they add up to.
        if self.is_complete or not any(word in event.data for word in _TOLD):
            return
        told = load_json(event.data)
        if not isinstance(told, dict):
            raise NotUnderstood("unknown-body")
        kind = told.get("type", event.type)
        if kind == "error":
            self._failure = "error"
        elif kind == _ITEM_DONE:
            index, item = told.get("output_index"), told.get("item")
            if type(index) is not int or not isinstance(item, dict):
                raise NotUnderstood("unknown-body")
            self._items[index] = item
        elif isinstance(kind, str) and kind in _ENDS:
            if not isinstance(response := told.get("response"), dict):
                raise NotUnderstood("unknown-body")
            self._response = response
            self.is_complete = True
