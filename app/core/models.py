"""The central types: what a request, a key, a stored response and a verdict are."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.core.tags import UNTAGGED, Tagging

Header = tuple[bytes, bytes]
"""One header line; the name in lower case, as ASGI gives it."""

Embedding = NDArray[np.float32]
"""A text as a vector: shape (dimensions,), unit length."""

Clock = Callable[[], float]
"""The time in seconds: since the epoch, unless said otherwise."""


CHAT_COMPLETION = "chat_completion"
"""The dialect of what does not name one: once there was no other."""
V1, AZURE = b"/v1", b"/openai"
"""Prefixes of the API's paths: the usual one, and Azure's, whose paths the upstream gets whole."""


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request of the API as the client sent it; nothing is decoded or normalised.

    `path` is what follows the `prefix`, `query` is without its `?`, `headers` travel end to end.
    """

    method: str
    path: bytes
    query: bytes = field(repr=False)
    headers: Sequence[Header] = field(repr=False)
    body: bytes | AsyncIterator[bytes] = field(default=b"", repr=False)
    prefix: bytes = V1


@dataclass(frozen=True, slots=True)
class CacheKey:
    """What a request asks for, split into what must match exactly and what may match by meaning.

    `partition` and `digest` are lower-case hex. `partition` covers everything that must match
    exactly (the part that `Vary` and RFC 9111 §3.5 play for HTTP); `digest` covers the text as
    well. `text` is what is embedded, or None where only an exact match may answer.
    """

    partition: str
    digest: str
    text: str | None = field(repr=False)


class Fullness(IntEnum):
    """How much of `usage` an answer has, or a request is entitled to; more includes less.

    `PLAIN` is a stream for which usage was not asked, `STREAMED` a stream for which it was, `ALL` a
    whole answer. An answer that states its usage has `ALL`, however it came.
    """

    PLAIN = 0
    STREAMED = 1
    ALL = 2


class Aging:
    """What was stored at a time (seconds since 1970) and stays fresh for some seconds.

    It is kept for `stale_lifetime` seconds more, in which it may still be served stale.
    """

    __slots__ = ()

    stored_at: float
    freshness_lifetime: float
    stale_lifetime: float

    def age(self, now: float) -> float:
        """Return the age in seconds, counted from when it was received (RFC 9111 §4.2.3)."""
        return max(0.0, now - self.stored_at)

    def ttl(self, now: float) -> float:
        """Return the remaining freshness lifetime in seconds; negative when stale."""
        return self.freshness_lifetime - self.age(now)

    def is_fresh(self, now: float) -> bool:
        """Whether the answer may still be served without asking again."""
        return self.ttl(now) > 0

    @property
    def lifetime(self) -> float:
        """For how long the answer is kept, fresh or stale."""
        return self.freshness_lifetime + self.stale_lifetime

    def left(self, now: float) -> float:
        """Return the remaining whole lifetime in seconds."""
        return self.lifetime - self.age(now)


@dataclass(frozen=True, slots=True)
class StoredResponse(Aging):
    """A stored response (RFC 9111 §1.2.1): an answer and how long it stays fresh.

    `content` is that of the dialect's Answer: UTF-8 JSON, of which any form can be rendered.
    `epoch` is the store's when the upstream was asked; empty: the present one. `parts` says what
    the partition is made of, as `key_parts.py` writes it, or nothing. `tagging` is what an operator
    may purge it by. What is disputed answers only the very same question. `fullness` is what it has
    for those entitled to `usage`. `allow_origin` is its Access-Control-Allow-Origin, or empty.
    `dialect` names its API, `upstream_id` is its id where the upstream keeps it, if that matters.
    `caller` is what `core/callers.py` calls whoever it was fetched for. `vector_digest` is what a
    store keeps of its vector. `askers` are digests of a few credentials that have asked the same,
    where all share answers; `is_pinned` says that an operator lets it answer by meaning anyway.
    """

    key: CacheKey
    model: str
    content: bytes = field(repr=False)
    stored_at: float
    freshness_lifetime: float
    epoch: str = field(default="", compare=False)
    parts: str = field(default="", repr=False)
    stale_lifetime: float = 0.0
    tagging: Tagging = UNTAGGED
    is_disputed: bool = False
    fullness: Fullness = Fullness.ALL
    allow_origin: str = ""
    dialect: str = CHAT_COMPLETION
    upstream_id: str = ""
    caller: str = field(default="", repr=False)
    vector_digest: str = field(default="", compare=False, repr=False)
    askers: frozenset[str] = frozenset()
    is_pinned: bool = False

    @property
    def id(self) -> str:
        """The entry's name: its exact key."""
        return self.key.digest


@dataclass(frozen=True, slots=True)
class SharedAnswer:
    """An answer's content as in StoredResponse, of which any form can be rendered."""

    content: bytes = field(repr=False)
    fullness: Fullness


@dataclass(frozen=True, slots=True)
class StoredEmbedding(Aging):
    """An embedding that the upstream made of one input, under its exact key.

    `numbers` are little-endian, of `width` bytes each: 4 where every number is a float32, as
    embeddings are, else 8. `epoch`, `allow_origin` and `caller` as in StoredResponse. `tokens` is
    the share of the input in what the upstream counted, perhaps a fraction; None where that is not
    known.
    """

    id: str
    model: str
    numbers: bytes = field(repr=False)
    width: Literal[4, 8]
    stored_at: float
    freshness_lifetime: float
    epoch: str = field(default="", compare=False)
    stale_lifetime: float = 0.0
    allow_origin: str = ""
    tokens: float | None = None
    caller: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A model that embeds texts; embeddings of different models are never compared."""

    name: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored response near a question; `distance` is cosine: 0 = same, 1 = unrelated."""

    stored: StoredResponse
    distance: float


@dataclass(frozen=True, slots=True)
class StoredText:
    """A stored question that may be the one asked; `distance` is cosine: 0 = same."""

    text: str = field(repr=False)
    distance: float


@dataclass(frozen=True, slots=True)
class Page:
    """Some stored responses; `cursor` leads to the next ones and is empty after the last."""

    entries: Sequence[StoredResponse]
    cursor: str


class Kind(StrEnum):
    """What is stored, each counted and evicted apart; the values are those in files."""

    ANSWER = "chat_completion"  # of whatever dialect
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class Counts:
    """How much is stored; `by_dialect` divides `answers`."""

    answers: int
    embeddings: int
    by_dialect: Mapping[str, int] = field(default_factory=dict, compare=False)

    @property
    def by_kind(self) -> Mapping[str, int]:
        """Answers by dialect, and the embeddings."""
        embeddings = {Kind.EMBEDDING.value: self.embeddings}
        return {CHAT_COMPLETION: 0, **self.by_dialect, **embeddings}


class Guard(StrEnum):
    """What proves that one answer cannot serve two questions.

    Most are plain. `clauses` are wishes that only one has, `kinds` other things of one kind (a cat,
    a dog), `payload` what something is to be done to, letter by letter, `qualifiers` words that
    narrow one of the questions, `roles` the same things the other way round (from, to), `words`
    rare words in the same place, `writing` case or white space that counts.
    """

    LANGUAGE = "language"
    WRITING = "writing"
    PAYLOAD = "payload"
    NUMBERS = "numbers"
    UNITS = "units"
    DATES = "dates"
    QUOTES = "quotes"
    IDENTIFIERS = "identifiers"
    CLAUSES = "clauses"
    NEGATION = "negation"
    ANTONYMS = "antonyms"
    NAMES = "names"
    QUESTIONS = "questions"
    KINDS = "kinds"
    QUALIFIERS = "qualifiers"
    ROLES = "roles"
    WORDS = "words"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a candidate: who refuses it, and the probability, 0 to 1, that it serves."""

    candidate: Candidate
    refused_by: Guard | Literal["verifier"] | None = None
    probability: float | None = None
