"""What a dialect is: all that the cache must know of one API, and the only place that knows it.

A dialect parses a request, reads the answer to it as its bytes pass by, and renders a stored answer
in whatever form a request asks for. It does no I/O and knows no clock. A whole one to start from is
`tests/engine/toy_dialect.py`.
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
    """What an answer adds up to, in the one form that every other form is rendered from.

    `content` is UTF-8 JSON. `unfit` says why it must not be stored, or is None.
    `may_be_shared`: it may go to others who ask the same meanwhile, though it is not stored.
    `exact_only`: it answers the very same request only. `upstream_id` is the id under which the
    upstream keeps it as well, if a client may ask for it by that.
    """

    content: bytes = field(repr=False)
    fullness: Fullness = Fullness.ALL
    unfit: DiscardReason | None = None
    may_be_shared: bool = True
    exact_only: bool = False
    upstream_id: str = ""

    @property
    def whole(self) -> SharedAnswer | None:
        """The answer as others who asked the same may share it; None if they may not."""
        return SharedAnswer(self.content, self.fullness) if self.may_be_shared else None


class AnswerReader(Protocol, Generic[T_co]):
    """Reads one answer. All methods raise NotUnderstood where it is not what the API defines."""

    @property
    def is_complete(self) -> bool:
        """Whether the answer says itself that nothing more will come."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""

    def end(self) -> None:
        """Take note that the body has ended cleanly."""

    def read(self) -> T_co:
        """Return what the whole answer adds up to."""


class StreamFilter(Protocol):
    """Turns the stream that one request asked for into that of another one, as it arrives."""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return what can be sent now. Raises UnicodeDecodeError."""

    def flush(self) -> bytes:
        """Return what is still to be sent when the stream has ended cleanly."""


class Form(Protocol):
    """In what form an answer is asked for. Hashable: requests of one form get the same bytes."""

    @property
    def entitled(self) -> Fullness:
        """How much of `usage` the upstream gives to a request of this form."""

    def __hash__(self) -> int: ...

    def __eq__(self, other: object, /) -> bool: ...


class ParsedRequest(Protocol):
    """A request of an API, as far as the cache must know it."""

    @property
    def model(self) -> str:
        """The model that is asked."""

    @property
    def form(self) -> Form:
        """In what form the answer is asked for."""

    @property
    def must_match(self) -> Mapping[str, Any]:
        """The body in canonical form, without the `texts` and what cannot change the answer."""

    @property
    def texts(self) -> Sequence[str] | None:
        """What may be matched by meaning; None where all of the body must match exactly."""

    @property
    def messages_field(self) -> str:
        """The name of the field of `must_match` that holds the messages, the last one last."""

    @property
    def end_user(self) -> Sequence[Any]:
        """The values of the body that name the end user, such as `user`."""

    @property
    def treatment(self) -> str:
        """A digest of what may change how the upstream treats the request, but not the answer.

        Requests of another treatment share no upstream request. Empty where nothing of that kind is
        set.
        """

    @property
    def question(self) -> str:
        """The text in which words that limit reuse, such as "today", are sought; may be empty."""

    @property
    def instructions(self) -> Sequence[str]:
        """The texts beside the user's last turn that may say what is to be done with it."""

    def bypass_reason(self, max_temperature: float) -> BypassReason | None:
        """Return why the request must not use the cache, or None."""

    def reader(self, *, is_stream: bool) -> AnswerReader[Answer]:
        """Return a reader of the answer to this request: of an event stream or a JSON document."""

    def render(self, content: bytes, status: CacheStatus, *, nonce: str, now: float) -> Replay:
        """Render a stored answer as this request asks for it.

        `content` is that of an Answer. `nonce`, 32 hex digits, makes its id; `now` is its time in
        seconds since 1970. Raises ValueError where the content cannot be read.
        """

    def narrowing(self, leader: object) -> StreamFilter | None:
        """Return a filter that makes this request's stream of another form's; None if none can.

        `leader` is that other form, of whatever dialect.
        """


class Dialect(Protocol):
    """One API. `name` is what its answers are called in the store and in `/cache/*`."""

    @property
    def name(self) -> str:
        """A word in lower case that never changes: it is stored."""

    def why_not_stored(self, content: Mapping[str, Any]) -> DiscardReason | None:
        """Return why an imported answer must not be stored, or None if it may.

        `content` should be that of an Answer, but nothing about it has been checked.
        """

    def parse(self, body: bytes) -> ParsedRequest | EmbeddingsRequest:
        """Read the body of a request. Raises NotUnderstood."""
