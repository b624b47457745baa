"""The central types: request, key, stored response, embedding, candidate, verdict."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.core.tags import UNTAGGED, Tagging

Header = tuple[bytes, bytes]
"""The name and the value of a header. The name is in lower case, as in ASGI."""

Embedding = NDArray[np.float32]
"""A text as a vector: shape (dimensions,), unit length."""

Clock = Callable[[], float]
"""A function that returns the time, in seconds since 1970 unless stated otherwise."""


CHAT_COMPLETION = "chat_completion"
"""The dialect of chat completions.

Entries of old versions of Reprise name no dialect. All of them are chat completions.
"""
V1, AZURE = b"/v1", b"/openai"
"""The first part of paths in OpenAI's API and in Azure's.

The first part of an Azure path is forwarded to the upstream; `/v1` is not.
"""


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request as the client sent it; nothing is decoded or normalised.

    `path` is the part of the URL's path after `prefix`. `query` is the part of the URL after `?`.
    `headers` are the end-to-end headers (RFC 9110 §7.6.1).
    """

    method: str
    path: bytes
    query: bytes = field(repr=False)
    headers: Sequence[Header] = field(repr=False)
    body: bytes | AsyncIterator[bytes] = field(default=b"", repr=False)
    prefix: bytes = V1


@dataclass(frozen=True, slots=True)
class CacheKey:
    """The cache key of a request. `partition` must match exactly; `text` may match by meaning.

    `partition`: digest in lower-case hex of everything that must match exactly. The partition has
    the role that `Vary` and RFC 9111 §3.5 have in HTTP.
    `digest`: the exact key: digest in lower-case hex of the partition and the text.
    `text`: the text that is embedded; None if only an exact match may answer.
    """

    partition: str
    digest: str
    text: str | None = field(repr=False)


class Fullness(IntEnum):
    """How much of the field `usage` an answer contains, or a request is entitled to.

    A higher value includes the lower values.

    `PLAIN`: as much as a stream without `include_usage` contains.
    `STREAMED`: as much as a stream with `include_usage` contains.
    `ALL`: as much as an answer that is not streamed contains. A stored answer that contains `usage`
    always has this value, even if it answered a stream.
    """

    PLAIN = 0
    STREAMED = 1
    ALL = 2


class Aging:
    """An entry with an age and a lifetime.

    `stored_at` and `now` are in seconds since 1970. The entry is fresh for `freshness_lifetime`
    seconds. After that, the entry may be served stale for `stale_lifetime` seconds.
    """

    __slots__ = ()

    stored_at: float
    freshness_lifetime: float
    stale_lifetime: float

    def age(self, now: float) -> float:
        """Return the seconds since the entry was received from upstream (RFC 9111 §4.2.3)."""
        return max(0.0, now - self.stored_at)

    def ttl(self, now: float) -> float:
        """Return the remaining freshness lifetime in seconds; 0 or negative if stale."""
        return self.freshness_lifetime - self.age(now)

    def is_fresh(self, now: float) -> bool:
        """Whether the entry may be served without asking the upstream again."""
        return self.ttl(now) > 0

    @property
    def lifetime(self) -> float:
        """The number of seconds for which the entry is kept: first fresh, then stale."""
        return self.freshness_lifetime + self.stale_lifetime

    def left(self, now: float) -> float:
        """Return the seconds from `now` until the lifetime ends; negative if it has ended."""
        return self.lifetime - self.age(now)


@dataclass(frozen=True, slots=True)
class StoredResponse(Aging):
    """A stored response (RFC 9111 §1.2.1): an answer and how long it stays fresh.

    `content`: the answer as UTF-8 JSON, from which the dialect makes a whole answer or a stream.
    `epoch`: the store's epoch when the upstream was asked; empty means the current epoch.
    `parts`: the parts of the partition, as text (`rules/key_parts.py`); may be empty.
    `tagging`: the labels by which the entry can be found and purged.
    `is_disputed`: the answer was reported as wrong, so it is served for exact matches only.
    `fullness`: how much of `usage` the answer contains.
    `allow_origin`: the upstream's Access-Control-Allow-Origin; may be empty.
    `dialect`: the API to which the answer belongs.
    `upstream_id`: the id under which the upstream keeps the answer; may be empty.
    `caller`: names (`core/callers.py`) of the caller for whom the answer was fetched.
    `vector_digest`: the store's checksum of the question's embedding; may be empty.
    `askers`: if callers share answers, digests of the credentials of a few callers who have asked
    this question.
    `is_pinned`: an operator allows hits by meaning, even if few callers have asked this question.
    `seconds`: the seconds that the upstream took for the whole answer; 0 if unknown.
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

    `cached`: input tokens that the upstream read from its prompt cache.
    `written`: input tokens that the upstream wrote to its prompt cache.
    `input`: all input tokens, including `cached` and `written`.
    """

    input: int
    output: int = 0
    cached: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class SharedAnswer:
    """An answer that several requests share. `content` and `fullness` are as in StoredResponse."""

    content: bytes = field(repr=False)
    fullness: Fullness


@dataclass(frozen=True, slots=True)
class StoredEmbedding(Aging):
    """An embedding that the upstream made of one input.

    `id`: the exact key.
    `numbers`: little-endian floats of `width` bytes each. `width` is 4 if every number is exactly a
    float32; otherwise it is 8.
    `tokens`: the part of the answer's token count that belongs to this input, perhaps a fraction;
    None if unknown.
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
    """An embedding model, and the number of dimensions of its embeddings.

    Embeddings of two models are never compared.
    """

    name: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored response whose question is near the question asked.

    `distance` is the cosine distance of the two questions.
    """

    stored: StoredResponse
    distance: float


@dataclass(frozen=True, slots=True)
class StoredText:
    """A stored question, to be compared with the question asked.

    `distance` is the cosine distance of the two questions.
    """

    text: str = field(repr=False)
    distance: float


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list of stored responses.

    `cursor` is the argument with which a scan returns the next page; empty on the last page.
    """

    entries: Sequence[StoredResponse]
    cursor: str


class Kind(StrEnum):
    """The kinds of entries. Each kind is counted and evicted separately.

    The values are written to files, so they must not be changed.
    """

    ANSWER = "chat_completion"  # an answer of any dialect, in spite of the value
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of stored answers and of stored embeddings.

    `by_dialect` is the number of stored answers of each dialect.
    """

    answers: int
    embeddings: int
    by_dialect: Mapping[str, int] = field(default_factory=dict, compare=False)

    @property
    def by_kind(self) -> Mapping[str, int]:
        """The number of stored answers of each dialect, and the number of embeddings, by name."""
        embeddings = {Kind.EMBEDDING.value: self.embeddings}
        return {CHAT_COMPLETION: 0, **self.by_dialect, **embeddings}


class Guard(StrEnum):
    """The guards. Each is named after the difference that it finds between two questions.

    Such a difference proves that one answer cannot serve both questions.

    `clauses`: a wish that only one question has.
    `kinds`: different things of one kind (cat, dog).
    `payload`: the text that a task is about differs.
    `qualifiers`: words that narrow only one question.
    `roles`: the same things in exchanged roles (from A to B, from B to A).
    `words`: different rare words in the same place.
    `writing`: differences of case or white space that matter.
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

    `refused_by`: the guard that refused the candidate, or `verifier`; None if it was not refused.
    `probability`: the probability, 0 to 1, that the candidate's answer serves the question asked;
    None if unknown.
    """

    candidate: Candidate
    refused_by: Guard | Literal["verifier"] | None = None
    probability: float | None = None
