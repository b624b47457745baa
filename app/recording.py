"""The copy of an upstream answer that runs beside the client's bytes, and what it adds up to.

Nothing that an upstream sends can make this raise: what is not understood is not stored.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from app import policy
from app.completions import CompletionBuilder, without_envelope
from app.errors import NotUnderstood
from app.headers import value_of
from app.models import Head, Unfit
from app.openai import DONE, ChatRequest, JsonObject, load_json
from app.policy import Limits
from app.sse import Event, EventParser
from app.vectors import EmbeddingsAnswer

_OK = 200


@dataclass(frozen=True, slots=True)
class Storable:
    """An answer that may be stored.

    `completion` is UTF-8 JSON without envelope, `freshness_lifetime` is in seconds; an answer that
    is `exact_only` may serve nothing but the very same question.
    """

    completion: bytes
    freshness_lifetime: float
    exact_only: bool


class Recording(ABC):
    """Reads a copy of an answer as it passes by.

    As soon as the answer is complete, before its last bytes go to the client, either it is kept,
    once, or `reason` says why it is not to be stored.
    """

    def __init__(self, head: Head, limits: Limits) -> None:
        headers = head.headers
        self.reason: Unfit | None = None
        self._kept = False
        self._limits = limits
        media_type = (value_of(headers, b"content-type") or "").partition(";")[0].strip().lower()
        encoding = (value_of(headers, b"content-encoding") or "identity").strip().lower()
        length = value_of(headers, b"content-length") or ""
        self._announced = int(length) if length.isdecimal() and length.isascii() else None
        self._received = 0
        self._is_stream = media_type == "text/event-stream"
        self._body: list[bytes] = []
        self._lifetime = policy.freshness_lifetime(headers, limits, is_stream=self._is_stream)
        if head.status_code != _OK:
            self.reason = "status"
        elif not self._reads(media_type):
            self.reason = "content-type"
        elif encoding != "identity":  # which nobody asked for
            self.reason = "content-encoding"
        elif self._lifetime <= 0:
            self.reason = "no-store"

    @property
    def _settled(self) -> bool:
        return self._kept or self.reason is not None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body, as they came."""
        if self._settled:
            return
        self._received += len(chunk)
        if self._received > self._limits.max_bytes:
            self.reason = "too-large"
        else:
            self._try(self._take, chunk)
        if self._received == self._announced:
            # The client knows the end by its length and may ask again before we see it closed.
            self.end()

    def end(self) -> None:
        """Note the clean end of the body; a body that breaks off must not be ended."""
        if not self._settled:
            self._try(self._take_end)

    def _reads(self, media_type: str) -> bool:
        return media_type.endswith(("/json", "+json"))

    def _take(self, chunk: bytes) -> None:
        self._body.append(chunk)

    def _take_end(self) -> None:
        self._take_whole(b"".join(self._body))

    @abstractmethod
    def _take_whole(self, body: bytes) -> None:
        """Keep a body, or say why not; may raise NotUnderstood."""

    def _try(self, step: Callable[..., None], *args: bytes) -> None:
        try:
            step(*args)
        except NotUnderstood as unknown:
            self.reason = unknown.detail
        except (UnicodeError, RecursionError):
            self.reason = "unknown-body"


class ChatRecording(Recording):
    """Reads a chat completion, whole or in chunks; `keep` is called with what may be stored."""

    def __init__(
        self, chat: ChatRequest, head: Head, limits: Limits, keep: Callable[[Storable], None]
    ) -> None:
        super().__init__(head, limits)
        self._keep = keep
        self._choices = chat.choices
        self._events = EventParser()
        self._builder = CompletionBuilder()

    def _reads(self, media_type: str) -> bool:
        return self._is_stream or super()._reads(media_type)

    def _take(self, chunk: bytes) -> None:
        if not self._is_stream:
            super()._take(chunk)
            return
        for event in self._events.feed(chunk):
            self._take_event(event)
        if self._events.unfinished == DONE:
            self._settle(self._builder.completion())  # clients read lines and may leave at this one

    def _take_end(self) -> None:
        if not self._is_stream:
            super()._take_end()
            return
        for event in self._events.flush():
            self._take_event(event)
        self._settle(self._builder.completion())

    def _take_event(self, event: Event) -> None:
        if self._settled:
            return
        if event.data.strip() == DONE:
            self._settle(self._builder.completion())
        elif event.type == "error":
            raise NotUnderstood("unknown-body")
        else:
            self._builder.add(load_json(event.data))

    def _take_whole(self, body: bytes) -> None:
        self._settle(load_json(body))

    def _settle(self, answer: object) -> None:
        if self._settled:
            return
        if not isinstance(answer, dict):
            raise NotUnderstood("unknown-body")
        completion: JsonObject = without_envelope(answer)
        reason = policy.why_not_stored(completion, self._choices)
        if reason:
            self.reason = reason
            return
        storable = Storable(
            json.dumps(completion, ensure_ascii=False, separators=(",", ":")).encode(),
            self._lifetime,
            policy.is_exact_only(completion),
        )
        self._kept = True
        self._keep(storable)


class EmbeddingsRecording(Recording):
    """Reads the embeddings of `count` inputs; `keep` is called with them and their lifetime."""

    def __init__(
        self,
        count: int,
        head: Head,
        limits: Limits,
        keep: Callable[[EmbeddingsAnswer, float], None],
    ) -> None:
        super().__init__(head, limits)
        self._keep = keep
        self._count = count

    def _take_whole(self, body: bytes) -> None:
        answer = EmbeddingsAnswer.parse(body, self._count)
        self._kept = True
        self._keep(answer, self._lifetime)
