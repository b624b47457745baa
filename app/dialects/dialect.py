"""The protocol of a dialect. A dialect contains all that the cache must know about one API.

A dialect parses requests. It reads answers incrementally, while their bytes are sent to the client.
It renders a stored answer in the form that a request asks for (JSON or a stream). A dialect does no
I/O and uses no clock. `tests/engine/toy_dialect.py` is a complete small example.
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
    """A complete answer, in the form that is stored. All other forms are rendered from this form.

    `content`: the answer as JSON in UTF-8.
    `fullness`: how much of `usage` the answer has.
    `unfit`: why the answer must not be stored, or None if it may be stored.
    `may_be_shared`: whether collapsed requests may get the answer, even if it must not be stored.
    `exact_only`: whether the answer may be served only by exact match, not by meaning.
    `upstream_id`: the id of the answer at the upstream. Clients may use this id at the upstream.
    `upstream_id` is empty if the upstream does not also store the answer.
    """

    content: bytes = field(repr=False)
    fullness: Fullness = Fullness.ALL
    unfit: DiscardReason | None = None
    may_be_shared: bool = True
    exact_only: bool = False
    upstream_id: str = ""

    @property
    def whole(self) -> SharedAnswer | None:
        """The answer that collapsed requests share, or None if they must not share this answer."""
        return SharedAnswer(self.content, self.fullness) if self.may_be_shared else None


class AnswerReader(Protocol, Generic[T_co]):
    """Reads one answer. Every method raises NotUnderstood if the answer does not follow the API."""

    @property
    def is_complete(self) -> bool:
        """Whether the end mark of the answer, such as `[DONE]`, has been read."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""

    def end(self) -> None:
        """Tell the reader that the body has ended without an error."""

    def read(self) -> T_co:
        """Return the complete answer."""


class StreamFilter(Protocol):
    """Turns the stream of one request into the stream of another request, piece by piece."""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return the bytes that can be sent now. Raises UnicodeDecodeError."""

    def flush(self) -> bytes:
        """Return the bytes that are left to send after the stream has ended without an error."""


class Form(Protocol):
    """The form of an answer, for example a stream.

    Requests with equal forms get equal bytes if they share an answer.
    """

    @property
    def entitled(self) -> Fullness:
        """How much of `usage` the upstream sends in an answer of this form."""

    def __hash__(self) -> int: ...

    def __eq__(self, other: object, /) -> bool: ...


class ParsedRequest(Protocol):
    """The parts of a request that the cache must know."""

    @property
    def model(self) -> str:
        """The name of the model that the request asks for."""

    @property
    def form(self) -> Form:
        """The form of the answer that the request asks for."""

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
        """A digest of the fields that change the handling of the request, but not the answer.

        An example of these fields is the service tier. Requests with different digests are never
        collapsed. The digest is empty if the request has none of these fields.
        """

    @property
    def question(self) -> str:
        """The text of the question, which may be empty.

        This text is searched for words that limit the reuse of the answer, such as "today".
        """

    @property
    def instructions(self) -> Sequence[str]:
        """The texts outside the user's last turn that may be instructions for that turn."""

    def bypass_reason(self, max_temperature: float) -> BypassReason | None:
        """Return why the request must not use the cache, or None if it may use the cache."""

    def reader(self, *, is_stream: bool) -> AnswerReader[Answer]:
        """Return a reader for an event stream if `is_stream`, else for a JSON document."""

    def render(self, content: bytes, status: CacheStatus, *, nonce: str, now: float) -> Replay:
        """Render a stored answer in the form that this request asks for.

        `content` is the `content` of an Answer. `nonce` has 32 hex digits; the id of the rendered
        answer is made from the nonce. `now` is the creation time of the rendered answer, in seconds
        since 1970. Raises ValueError if `content` cannot be read.
        """

    def narrowing(self, leader: object) -> StreamFilter | None:
        """Return a filter that changes a stream from form `leader` to the form of this request.

        `leader` is the form in which the upstream sends the answer; this may be the form of another
        dialect. The result is None if no filter can make this change.
        """


class Dialect(Protocol):
    """One API: parses requests, and checks imported answers."""

    @property
    def name(self) -> str:
        """The name of the API in the store and in `/cache/*`. This name must never change."""

    def why_not_stored(self, content: Mapping[str, Any]) -> DiscardReason | None:
        """Return why an imported answer must not be stored, or None if it may be stored.

        `content` has not been checked: it may differ from the `content` of any Answer.
        """

    def parse(self, body: bytes) -> ParsedRequest | EmbeddingsRequest:
        """Parse the body of a request. Raises NotUnderstood."""
