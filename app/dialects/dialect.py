"""The protocol of a dialect: everything the cache must know about one API, in one place.

A dialect parses requests, reads answers incrementally while their bytes are sent on to the client,
and renders a stored answer in the form that a request asks for (JSON or a stream). It does no I/O
and uses no clock. `tests/engine/toy_dialect.py` is a complete small example.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from app.core.cache_status import BypassReason, CacheStatus, DiscardReason, Replay
from app.core.models import Fullness, SharedAnswer
from app.dialects.embeddings import EmbeddingsRequest

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer, in the one form from which every other form is rendered.

    `content`: UTF-8 JSON.
    `unfit`: why it must not be stored, or None.
    `may_be_shared`: it may be sent to collapsed requests, even if it must not be stored.
    `exact_only`: it must be served by exact match only.
    `upstream_id`: the id under which the upstream keeps it, if a client may use that id; or empty.
    """

    content: bytes = field(repr=False)
    fullness: Fullness = Fullness.ALL
    unfit: DiscardReason | None = None
    may_be_shared: bool = True
    exact_only: bool = False
    upstream_id: str = ""

    @property
    def whole(self) -> SharedAnswer | None:
        """The answer for collapsed requests to share; None if they must not share it."""
        return SharedAnswer(self.content, self.fullness) if self.may_be_shared else None


class AnswerReader(Protocol, Generic[T_co]):
    """Reads one answer. Every method raises NotUnderstood if the answer does not follow the API."""

    @property
    def is_complete(self) -> bool:
        """Whether the end mark of the answer, such as `[DONE]`, has been read."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""

    def end(self) -> None:
        """Note that the body has ended without an error."""

    def read(self) -> T_co:
        """Return the complete answer."""


class StreamFilter(Protocol):
    """Turns the stream made for one request into the stream for another, piece by piece."""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return the bytes that can be sent now. Raises UnicodeDecodeError."""

    def flush(self) -> bytes:
        """Return the bytes still to be sent when the stream has ended cleanly."""


class Form(Protocol):
    """The form of an answer, for example streamed. Requests with equal forms get equal bytes."""

    @property
    def entitled(self) -> Fullness:
        """How much of `usage` the upstream gives to a request of this form."""

    def __hash__(self) -> int: ...

    def __eq__(self, other: object, /) -> bool: ...


class ParsedRequest(Protocol):
    """The parts of a request that the cache must know."""

    @property
    def model(self) -> str:
        """The name of the model that is asked."""

    @property
    def form(self) -> Form:
        """The form in which the answer is asked for."""

    @property
    def must_match(self) -> Mapping[str, Any]:
        """The body in canonical form, without `texts` and without neutral fields."""

    @property
    def texts(self) -> Sequence[str] | None:
        """The texts that may be matched by meaning; None if all of the body must match exactly."""

    @property
    def messages_field(self) -> str:
        """The name of the field in `must_match` that contains the messages, oldest first."""

    @property
    def end_user(self) -> Sequence[Any]:
        """The values in the body that identify the end user, such as `user`."""

    @property
    def treatment(self) -> str:
        """A digest of the fields that affect how the upstream handles the request, not the answer.

        An example is the service tier. Requests whose treatment differs are never collapsed. Empty
        if the request sets no such field.
        """

    @property
    def question(self) -> str:
        """The text that is searched for words that limit reuse, such as "today"; may be empty."""

    @property
    def instructions(self) -> Sequence[str]:
        """The texts outside the user's last turn that may say what to do with that turn."""

    def bypass_reason(self, max_temperature: float) -> BypassReason | None:
        """Return why the request must not use the cache, or None if it may."""

    def reader(self, *, is_stream: bool) -> AnswerReader[Answer]:
        """Return a reader for the answer, an event stream or a JSON document."""

    def render(self, content: bytes, status: CacheStatus, *, nonce: str, now: float) -> Replay:
        """Render a stored answer in the form that this request asks for.

        `content` is the `content` of an Answer. The rendered answer's id is made from `nonce`, 32
        hex digits; `now`, in seconds since 1970, is its creation time. Raises ValueError if the
        content cannot be read.
        """

    def narrowing(self, leader: object) -> StreamFilter | None:
        """Return a filter that turns a stream of the form `leader` into this request's stream.

        None if no filter can. `leader` may be a form of another dialect.
        """


class Dialect(Protocol):
    """One API."""

    @property
    def name(self) -> str:
        """The API's name in the store and in `/cache/*`; it must never change."""

    def why_not_stored(self, content: Mapping[str, Any]) -> DiscardReason | None:
        """Return why an imported answer must not be stored, or None if it may.

        `content` should be the content of an Answer, but has not been validated.
        """

    def parse(self, body: bytes) -> ParsedRequest | EmbeddingsRequest:
        """Parse the body of a request. Raises NotUnderstood."""
