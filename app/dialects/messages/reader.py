"""Reads the stream of events that answers a Messages request."""

from app.dialects.dialect import Answer
from app.dialects.documents import Judge
from app.dialects.fields import unknown
from app.dialects.messages.events import MessageBuilder
from app.dialects.sse import Event, EventParser
from app.dialects.strict_json import load_json


class EventsReader:
    """Reads a stream of events.

    The last event, `message_stop`, may be missing if each block in the stream has ended.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._events = EventParser()
        self._builder = MessageBuilder()

    @property
    def is_complete(self) -> bool:
        """Whether the last event, `message_stop`, has been read."""
        return self._builder.is_complete

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. Raises NotUnderstood or UnicodeDecodeError."""
        for event in self._events.feed(data):
            self._take(event)

    def end(self) -> None:
        """End the stream: take the last event if its final blank line is missing."""
        for event in self._events.flush():
            self._take(event)

    def read(self) -> Answer:
        """Return the answer that is made of all events. Raises NotUnderstood."""
        return self._judge(self._builder.message())

    def _take(self, event: Event) -> None:
        if self.is_complete or not event.data.strip():
            return
        document = load_json(event.data)
        # SDKs read the name of the event, other clients read `type` in the data: both must agree.
        kind = document.get("type") if isinstance(document, dict) else None
        if event.type not in ("message", kind):
            unknown()
        self._builder.add(document)
