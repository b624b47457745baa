"""How a request is to be handled, and what was found for it so far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from app.core.errors import Failure
from app.core.models import (
    CacheKey,
    Candidate,
    ClientRequest,
    Embedding,
    Fullness,
    Header,
    StoredResponse,
    Verdict,
)
from app.core.tags import UNTAGGED, Tagging
from app.dialects.dialect import ParsedRequest
from app.dialects.embeddings import EmbeddingsRequest
from app.rules.directives import Directives
from app.rules.headers import CacheControl, credentials
from app.rules.key import KeyRules, without_origin
from app.rules.limits import Limits
from app.rules.modes import Mode

ANY_ORIGIN = "*"
"""The value of Access-Control-Allow-Origin that lets pages of all origins read an answer."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a deployment decides about requests."""

    keys: KeyRules
    limits: Limits
    mode: Mode = Mode.SERVE


@dataclass(frozen=True, slots=True)
class Plan:
    """A request that may use the cache, and on which terms.

    `size` is that of its body, in bytes. `control` is what it asks for, bound to time where its
    question is; `asked` as it came. `limits` are its own, `max_distance` is cosine. Its answer
    serves nobody from `ends_at` on, whatever its lifetime. A page's request has an `open_key`, of
    what pages of all origins may read, beside its own. `dialect` is the name of that. Where
    all share answers, `asker` names who asks; it is empty elsewhere.
    """

    request: ClientRequest
    dialect: str
    parsed: ParsedRequest
    size: int
    key: CacheKey
    control: CacheControl
    asked: Directives
    tagging: Tagging
    limits: Limits
    max_distance: float
    ends_at: float = math.inf
    open_key: CacheKey | None = None
    mode: Mode = Mode.SERVE
    asker: str = ""

    @property
    def is_alone(self) -> bool:
        """Whether it needs an answer of its own: not a stored one, nor another's on its way."""
        return self.control.no_cache or self.mode is Mode.SHADOW

    @property
    def text(self) -> str | None:
        """What is matched by meaning; None where only the very same request may answer."""
        return None if self.asked.exact_only else self.key.text

    @property
    def opened(self) -> "Plan | None":
        """The same request under its open key."""
        if self.open_key is None:
            return None
        request = without_origin(self.request)
        return replace(self, request=request, key=self.open_key, open_key=None)

    def kept_under(self, allow_origin: str) -> "Plan":
        """Return the plan whose key an answer is stored under: the open one if all may read it."""
        return (self.opened if allow_origin == ANY_ORIGIN else None) or self

    @property
    def credentials(self) -> Sequence[Header]:
        """The header lines that say who asks."""
        return credentials(self.request.headers)

    @property
    def entitled(self) -> Fullness:
        """How much of `usage` the upstream would give to this request."""
        return self.parsed.form.entitled

    @property
    def is_plain(self) -> bool:
        """Whether it asks for no `usage`: it may join requests that do, but not the reverse."""
        return self.entitled is Fullness.PLAIN


@dataclass(frozen=True, slots=True)
class EmbeddingsPlan:
    """An embeddings request that may use the cache: each input has an exact key of its own."""

    request: ClientRequest
    parsed: EmbeddingsRequest
    control: CacheControl
    limits: Limits
    digests: Sequence[str]
    mode: Mode = Mode.SERVE


@dataclass(frozen=True, slots=True)
class Found:
    """What the look-up of one request has found so far.

    `exact` is stored under the very key, whether it may serve or not. `candidates` come nearest
    first, `verdicts` are about those that were judged, `chosen` is the one that may serve.
    `failure` names the part of the cache that failed. The store may still use `seconds_left`.
    """

    seconds_left: float
    exact: StoredResponse | None = None
    embedding: Embedding | None = field(default=None, repr=False)
    candidates: Sequence[Candidate] | None = None
    verdicts: Sequence[Verdict] = ()
    chosen: Candidate | None = None
    failure: Failure | None = None

    @property
    def carried(self) -> Tagging:
        """The tags of the entry whose place the answer will take."""
        return self.exact.tagging if self.exact else UNTAGGED
