"""The dialect of a toy API: `{"model", "tone", "ask", "stream"}` is answered by `{"say": …}`.

A streamed answer has one event per word, then the event `end`. The engine contains nothing about
this API. This module shows everything that a new API needs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from app.core.cache_status import BypassReason, CacheStatus, DiscardReason, Head, Replay
from app.core.errors import NotUnderstood
from app.core.models import Fullness
from app.dialects.dialect import Answer
from app.dialects.sse import EventParser, encode
from app.dialects.strict_json import load_json


class ToyForm(NamedTuple):
    stream: bool
    entitled: Fullness = Fullness.PLAIN


class ToyReader:
    def __init__(self, is_stream: bool) -> None:
        self._events = EventParser() if is_stream else None
        self._body = b""
        self._words: list[str] = []
        self.is_complete = False

    def feed(self, data: bytes) -> None:
        if self._events is None:
            self._body += data
            return
        for event in self._events.feed(data):
            self.is_complete |= event.data == "end"
            self._words.append(event.data)

    def end(self) -> None:
        if self._events is not None and not self.is_complete:
            raise NotUnderstood("unknown-body")

    def read(self) -> Answer:
        if self._events is None:
            self._words = [*load_json(self._body)["say"].split(), "end"]
        told = {"say": " ".join(self._words[:-1])}
        return Answer(json.dumps(told).encode(), unfit=None if told["say"] else "empty")


@dataclass(frozen=True)
class ToyRequest:
    model: str
    tone: str
    ask: str
    form: ToyForm
    messages_field = "tone"
    treatment = ""
    end_user: Sequence[Any] = ()

    @property
    def must_match(self) -> Mapping[str, Any]:
        return {"model": self.model, "tone": self.tone}

    @property
    def texts(self) -> Sequence[str]:
        return [self.ask]

    @property
    def instructions(self) -> Sequence[str]:
        return ()

    @property
    def question(self) -> str:
        return self.ask

    def bypass_reason(self, max_temperature: float) -> BypassReason | None:
        return "temperature" if self.tone == "wild" and max_temperature < 2 else None

    def reader(self, *, is_stream: bool) -> ToyReader:
        return ToyReader(is_stream)

    def render(self, content: bytes, status: CacheStatus, *, nonce: str, now: float) -> Replay:
        body, media_type = content, b"application/json"
        if self.form.stream:
            words = [*json.loads(content)["say"].split(), "end"]
            body, media_type = b"".join(encode(w.encode()) for w in words), b"text/event-stream"
        return Replay(Head(200, [(b"content-type", media_type)], status), body)

    def narrowing(self, leader: object) -> None:
        return None


class Toy:
    """The dialect."""

    name = "toy"

    def why_not_stored(self, content: Mapping[str, Any]) -> DiscardReason | None:
        return None if content.get("say") else "empty"

    def parse(self, body: bytes) -> ToyRequest:
        told = load_json(body)
        if not isinstance(told, dict) or not isinstance(told.get("ask"), str):
            raise NotUnderstood("unknown-body")
        form = ToyForm(bool(told.get("stream")))
        return ToyRequest(str(told.get("model")), str(told.get("tone")), told["ask"], form)
