"""The central types: request, key, stored response, embedding, candidate, verdict."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.core.tags import UNTAGGED, Tagging

Header = tuple[bytes, bytes]
"""A header's name and value; the name in lower case, as in ASGI."""

Embedding = NDArray[np.float32]
"""A text as a vector: shape (dimensions,), unit length."""

Clock = Callable[[], float]
"""A function that returns the time, in seconds since 1970 unless stated otherwise."""


CHAT_COMPLETION = "chat_completion"
"""The dialect of entries that name none: old versions stored only chat completions."""
V1, AZURE = b"/v1", b"/openai"
"""Prefixes of the API's paths: OpenAI's and Azure's. Only Azure's is forwarded to the upstream."""


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request as the client sent it; nothing is decoded or normalised.

    `path` is the part after `prefix`, `query` the part after `?`. `headers` are the end-to-end
    headers (RFC 9110 §7.6.1).
    """

    method: str
    path: bytes
    query: bytes = field(repr=False)
    headers: Sequence[Header] = field(repr=False)
    body: bytes | AsyncIterator[bytes] = field(default=b"", repr=False)
    prefix: bytes = V1


@dataclass(frozen=True, slots=True)
class CacheKey:
    """The cache key of a request, in two parts: what must match exactly, and what by meaning.

    `partition`: digest in lower-case hex of everything that must match exactly. It has the role
    that `Vary` and RFC 9111 §3.5 have in HTTP.
    `digest`: the exact key: digest in lower-case hex of the partition and the text.
    `text`: the text that is embedded; None if only an exact match may answer.
    """

    partition: str
    digest: str
    text: str | None = field(repr=False)


class Fullness(IntEnum):
    """How much of `usage` an answer has, or a request is entitled to.

    A higher value includes the lower ones.


    `PLAIN`: as in a stream without `include_usage`.
    `STREAMED`: as in a stream with `include_usage`.
    `ALL`: as in an answer that is not streamed; also any answer that states its usage.
    """

    PLAIN = 0
    STREAMED = 1
    ALL = 2


class Aging:
    """An entry with an age and a lifetime.

    `stored_at` is in seconds since 1970. The entry is fresh for `freshness_lifetime` seconds, and
    may be served stale for `stale_lifetime` seconds after that.
    """

    __slots__ = ()

    stored_at: float
    freshness_lifetime: float
    stale_lifetime: float

    def age(self, now: float) -> float:
        """Return the seconds since the entry was received from upstream (RFC 9111 §4.2.3)."""
        return max(0.0, now - self.stored_at)

    def ttl(self, now: float) -> float:
        """Return the remaining freshness lifetime in seconds; 0 or negative when stale."""
        return self.freshness_lifetime - self.age(now)

    def is_fresh(self, now: float) -> bool:
        """Whether the entry may be served without asking the upstream again."""
        return self.ttl(now) > 0

    @property
    def lifetime(self) -> float:
        """The number of seconds for which the entry is kept in all: fresh, then stale."""
        return self.freshness_lifetime + self.stale_lifetime

    def left(self, now: float) -> float:
        """Return the seconds from `now` until the lifetime ends; negative after that."""
        return self.lifetime - self.age(now)


@dataclass(frozen=True, slots=True)
class StoredResponse(Aging):
    """A stored response (RFC 9111 §1.2.1): an answer and how long it stays fresh.

    `content`: UTF-8 JSON from which the dialect renders any form (see `Answer`).
    `epoch`: the store's epoch when the upstream was asked; empty stands for the present one.
    `parts`: what the partition was made from, as text (`key_parts.py`); may be empty.
    `tagging`: the labels by which it can be found and purged.
    `is_disputed`: its answer was reported as wrong, so only exact matches are served.
    `fullness`: how much of `usage` it has.
    `allow_origin`: the upstream's Access-Control-Allow-Origin; may be empty.
    `dialect`: the API it belongs to.
    `upstream_id`: the id under which the upstream keeps the answer; may be empty.
    `caller`: names (`core/callers.py`) of the caller it was fetched for.
    `vector_digest`: the store's checksum of its vector.
    `askers`: digests of a few credentials that have asked this, if callers share answers.
    `is_pinned`: an operator lets it be served by meaning, however few have asked.
    `seconds`: how many seconds the upstream took for the whole answer; 0 if unknown.
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
    seconds: float = field(default=0.0, compare=False)

    @property
    def id(self) -> str:
        """The entry's id: its exact key."""
        return self.key.digest


@dataclass(frozen=True, slots=True)
class Usage:
    """The token counts of an answer.

    `input` includes `cached`, read from a prompt cache, and `written`, written to one.
    """

    input: int
    output: int = 0
    cached: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class SharedAnswer:
    """The `content` and `fullness` of an answer, as in StoredResponse, to share among requests."""

    content: bytes = field(repr=False)
    fullness: Fullness


@dataclass(frozen=True, slots=True)
class StoredEmbedding(Aging):
    """An embedding that the upstream made of one input.

    `id`: the exact key.
    `numbers`: little-endian floats of `width` bytes each: 4 if every number is exactly a float32,
    else 8.
    `tokens`: how many of the answer's tokens this input accounts for, perhaps a fraction; None if
    unknown.
    `epoch`, `allow_origin`, `caller`: as in StoredResponse.
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
    """An embedding model and its vectors' size; embeddings of two models are never compared."""

    name: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored response whose question is near the asked one, at this cosine distance."""

    stored: StoredResponse
    distance: float


@dataclass(frozen=True, slots=True)
class StoredText:
    """A stored question to compare with the one asked, at this cosine distance."""

    text: str = field(repr=False)
    distance: float


@dataclass(frozen=True, slots=True)
class Page:
    """Some stored responses; `cursor` asks for the next page and is empty on the last one."""

    entries: Sequence[StoredResponse]
    cursor: str


class Kind(StrEnum):
    """The kinds of entries, counted and evicted separately; files contain these values."""

    ANSWER = "chat_completion"  # an answer of any dialect, in spite of the value
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of stored answers and embeddings; `by_dialect` splits the answers."""

    answers: int
    embeddings: int
    by_dialect: Mapping[str, int] = field(default_factory=dict, compare=False)

    @property
    def by_kind(self) -> Mapping[str, int]:
        """The number of answers for each dialect, and of embeddings."""
        embeddings = {Kind.EMBEDDING.value: self.embeddings}
        return {CHAT_COMPLETION: 0, **self.by_dialect, **embeddings}


class Guard(StrEnum):
    """The guards, each named after the difference that it finds between two questions.

    Such a difference proves that one answer cannot serve both questions.


    `clauses`: a wish that only one question has.
    `kinds`: different things of one kind (cat, dog).
    `payload`: the text that a task is about differs.
    `qualifiers`: words that narrow only one question.
    `roles`: the same things the other way round (from, to).
    `words`: different rare words in the same place.
    `writing`: case or white space that matters.
    The other names say what differs.
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
    """The verdict on a candidate.

    `refused_by`: the guard that refused it, or `verifier`; None if nothing did.
    `probability`: the probability, 0 to 1, that its answer serves the question; None if unknown.
    """

    candidate: Candidate
    refused_by: Guard | Literal["verifier"] | None = None
    probability: float | None = None
