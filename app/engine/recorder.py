"""The copy of an upstream answer that runs beside the client's bytes, and what it adds up to.

Nothing that an upstream sends can make this raise: what is not understood is not stored.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.core.errors import NotUnderstood
from app.core.models import DiscardReason, Fullness, Head, Whole
from app.dialects.chat_completions.chunks import CompletionBuilder, without_envelope
from app.dialects.chat_completions.request import DONE, ChatRequest, JsonObject, load_json
from app.dialects.chat_completions.structured import structure_of
from app.dialects.embeddings import EmbeddingsAnswer
from app.dialects.sse import Event, EventParser
from app.rules import cacheability, freshness
from app.rules.cacheability import Limits
from app.rules.headers import value_of

T = TypeVar("T")

_OK = 200
_LENGTH = re.compile("[0-9]{1,15}")


@dataclass(frozen=True, slots=True)
class Storable:
    """An answer that may be stored.

    `completion` is UTF-8 JSON without envelope, the lifetimes are in seconds; an answer that
    is `exact_only` may serve nothing but the very same question. `fullness` as in StoredResponse.
    """

    completion: bytes
    fullness: Fullness
    freshness_lifetime: float
    stale_lifetime: float
    exact_only: bool


@dataclass(frozen=True, slots=True)
class StorableEmbeddings:
    """Embeddings that may be stored; the lifetimes are in seconds."""

    answer: EmbeddingsAnswer
    freshness_lifetime: float
    stale_lifetime: float


class Recording(ABC, Generic[T]):
    """Reads a copy of an answer as it passes by.

    `is_complete` turns true, once, as soon as the answer is all there: then ask for the `outcome`,
    before the last bytes go to the client. `reason` says why an answer is not to be stored.
    `content` is what any form of the answer can be made of, stored or not, or None.
    """

    def __init__(self, head: Head, limits: Limits) -> None:
        headers = head.headers
        self.reason: DiscardReason | None = None
        self.content: Whole | None = None
        self.is_complete = False
        self.size = 0  # bytes read
        self._settled = False
        self._limits = limits
        media_type = (value_of(headers, b"content-type") or "").partition(";")[0].strip().lower()
        encoding = (value_of(headers, b"content-encoding") or "identity").strip().lower()
        length = value_of(headers, b"content-length") or ""
        self._announced = int(length) if _LENGTH.fullmatch(length) else None
        self._is_stream = media_type == "text/event-stream"
        self._body: list[bytes] = []
        is_stream = self._is_stream
        self._lifetime = freshness.freshness_lifetime(headers, limits, is_stream=is_stream)
        self._stale_lifetime = freshness.stale_lifetime(headers, limits, is_stream=is_stream)
        if head.status_code != _OK:
            self.reason = "status"
        elif not self._reads(media_type):
            self.reason = "content-type"
        elif encoding != "identity":  # which nobody asked for
            self.reason = "content-encoding"
        elif self._lifetime <= 0:
            self.reason = "no-store"

    @property
    def _is_over(self) -> bool:
        return self.is_complete or self._settled or self.reason is not None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body, as they came."""
        if self._is_over:
            return
        self.size += len(chunk)
        if self.size > self._limits.max_bytes:
            self.reason = "too-large"
        else:
            self._try(self._take, chunk)
        if self.size == self._announced:
            # The client knows the end by its length and may ask again before we see it closed.
            self.end()

    def end(self) -> None:
        """Note the clean end of the body; a body that breaks off must not be ended."""
        if not self._is_over:
            self._try(self._take_end)
        if not self._is_over:
            self.is_complete = True

    def outcome(self) -> T | None:
        """Read a complete answer; None if it is not to be stored, and then `reason` says why.

        It takes the longer the larger the answer is, and may run in another thread.
        """
        self.is_complete = False
        self._settled = True
        result: list[T] = []
        self._try(lambda: result.append(self._read()))
        return result[0] if result else None

    def _reads(self, media_type: str) -> bool:
        return media_type.endswith(("/json", "+json"))

    def _take(self, chunk: bytes) -> None:
        self._body.append(chunk)

    def _take_end(self) -> None:
        """Take what the end of the body completes."""

    @abstractmethod
    def _read(self) -> T:
        """Read the answer. Raises NotUnderstood or _NotFit."""

    def _try(self, step: Callable[..., None], *args: bytes) -> None:
        try:
            step(*args)
        except NotUnderstood as unknown:
            self.reason = unknown.detail
        except _NotFit as unfit:
            self.reason = unfit.reason
        except (UnicodeError, RecursionError):
            self.reason = "unknown-body"


class _NotFit(Exception):
    """An answer that is understood and must not be stored."""

    def __init__(self, reason: DiscardReason) -> None:
        super().__init__(reason)
        self.reason = reason


class ChatRecording(Recording[Storable]):
    """Reads a chat completion, whole or in chunks."""

    def __init__(self, chat: ChatRequest, head: Head, limits: Limits) -> None:
        super().__init__(head, limits)
        self._choices = chat.choices
        self._entitled = chat.form.entitled
        self._structure = structure_of(chat.document)
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
        if self._events.unfinished == [DONE]:
            self.is_complete = True  # clients read lines and may leave at this one

    def _take_end(self) -> None:
        for event in self._events.flush():
            self._take_event(event)

    def _take_event(self, event: Event) -> None:
        if self._is_over:
            return
        if event.data.strip() == DONE:
            self.is_complete = True
        elif event.type == "error":
            raise NotUnderstood("unknown-body")
        else:
            self._builder.add(load_json(event.data))

    def _read(self) -> Storable:
        answer = self._builder.completion() if self._is_stream else self._document()
        completion: JsonObject = without_envelope(answer)
        reason = cacheability.why_not_stored(completion, self._choices, self._structure)
        if cacheability.is_whole(reason):
            told = json.dumps(completion, ensure_ascii=False, separators=(",", ":")).encode()
            fullness = cacheability.fullness(completion, self._entitled)
            self.content = Whole(told, fullness)
        if reason:
            raise _NotFit(reason)
        exact_only = cacheability.is_exact_only(completion)
        return Storable(told, fullness, self._lifetime, self._stale_lifetime, exact_only)

    def _document(self) -> JsonObject:
        answer = load_json(b"".join(self._body))
        if not isinstance(answer, dict):
            raise NotUnderstood("unknown-body")
        return answer


class EmbeddingsRecording(Recording[StorableEmbeddings]):
    """Reads the embeddings of `count` inputs."""

    def __init__(self, count: int, head: Head, limits: Limits) -> None:
        super().__init__(head, limits)
        self._count = count

    def _read(self) -> StorableEmbeddings:
        answer = EmbeddingsAnswer.parse(b"".join(self._body), self._count)
        if not answer.is_all:
            raise NotUnderstood("unknown-body")
        return StorableEmbeddings(answer, self._lifetime, self._stale_lifetime)
