"""Reads the answer to a Responses request, and judges whether it may be stored and shared.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Mapping
from typing import Any

from app.core.cache_status import DiscardReason
from app.core.errors import NotUnderstood
from app.dialects.dialect import Answer
from app.dialects.documents import Judge, written
from app.dialects.responses import fitness
from app.dialects.responses.replay import without_echoes
from app.dialects.sse import Event, EventParser
from app.dialects.strict_json import JsonObject, load_object
from app.dialects.structure import Structure

_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_ITEM_DONE = "response.output_item.done"
_TOLD = (*_ENDS, _ITEM_DONE, '"error"')


def judged(
    response: JsonObject, asked: Mapping[str, Any], structure: Structure, *, is_kept: bool
) -> Answer:
    """Return the Answer for a response.

    The Answer says whether the response may be stored, shared, and matched by meaning.

    `asked` is the body of the request. `structure` is the structure that the request demands of the
    answer. `is_kept` says whether the request asks the upstream to store the answer.
    """
    unfit = fitness.why_not_stored(response, structure)
    may_be_shared = fitness.may_be_shared(unfit)
    content = without_echoes(response, asked) if may_be_shared else {}
    return Answer(
        written(content),
        unfit=unfit,
        may_be_shared=may_be_shared,
        exact_only=unfit is None and fitness.is_exact_only(response, structure),
        upstream_id=response["id"] if unfit is None and is_kept else "",
    )


class EventsReader:
    """Reads a stream of events. The last event contains the whole response."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._events = EventParser()
        self._items: dict[int, JsonObject] = {}
        self._response: JsonObject | None = None
        self._failure: DiscardReason | None = None
        self.is_complete = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. Raises NotUnderstood or UnicodeDecodeError."""
        for event in self._events.feed(data):
            self._take(event)

    def end(self) -> None:
        """End the stream: take the last event if its final blank line is missing."""
        for event in self._events.flush():
            self._take(event)

    def read(self) -> Answer:
        """Return the answer: the response in the last event. Raises NotUnderstood.

        If that response has no field `output`, the items are taken from earlier events.
        """
        if self._failure or self._response is None:
            return Answer(b"{}", unfit=self._failure or "incomplete", may_be_shared=False)
        response = self._response
        if response.get("output") is None:  # some servers send the items only in separate events
            response["output"] = [item for _, item in sorted(self._items.items())]
        return self._judge(response)

    def _take(self, event: Event) -> None:
        # Most events are deltas. They need not be parsed: the last event has the whole response.
        if self.is_complete or not any(word in event.data for word in _TOLD):
            return
        told = load_object(event.data)
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
