"""How a request may use the cache (Plan), and the results of its look-up (Found)."""

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
from app.rules.caution import NO_CAUTION, Caution
from app.rules.directives import Directives
from app.rules.headers import CacheControl, credentials
from app.rules.key import KeyRules, without_origin
from app.rules.limits import Limits
from app.rules.modes import Mode
from app.rules.routing import Rule, ruled

ANY_ORIGIN = "*"
"""The value of Access-Control-Allow-Origin that lets web pages of any origin read an answer."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of a deployment that decide how requests use the cache.

    `rules`: the operator's rules; the first rule that matches a request is used for it.
    """

    keys: KeyRules
    limits: Limits
    mode: Mode = Mode.SERVE
    rules: Sequence[Rule] = ()

    def limits_by(self, rule: Rule | None) -> Limits:
        """Return the limits for requests to which `rule` applies; None stands for no rule."""
        return ruled(self.limits, rule, all_share=self.keys.all_share)

    @property
    def candidates(self) -> int:
        """The number of candidates to ask the store for: enough for any rule."""
        return max(self.limits_by(rule).candidates for rule in (None, *self.rules))


@dataclass(frozen=True, slots=True)
class Plan:
    """A request that may use the cache, with its key and limits.

    `dialect`: the name of the dialect.
    `size`: the size of the request's body in bytes.
    `asked`: what the request's headers, and the operator's rule for it, ask of the cache.
    `control`: the request's Cache-Control, made stricter if its question is time-bound.
    `limits`: the deployment's limits, adapted to this request.
    `max_distance`: the greatest cosine distance of a hit by meaning.
    `ends_at`: the time, in seconds since 1970, from which the answer must not be served; infinity
    if there is no such time.
    `open_key`: the key of the answer if pages of any origin may read it; None if the request has
    no open key (`build_open_key`).
    `rule`: the name of the operator's rule that applies to the request, or empty.
    `asker`: a digest of the request's credentials if all callers share answers; else empty.
    `caution`: which hits by meaning the present level of caution allows.
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
    rule: str = ""
    caution: Caution = NO_CAUTION

    @property
    def is_alone(self) -> bool:
        """Whether the request needs its own answer from the upstream, neither stored nor shared."""
        return self.control.no_cache or self.mode is Mode.SHADOW

    @property
    def text(self) -> str | None:
        """The text that is matched by meaning; None if only an exact match may answer."""
        return None if self.asked.exact_only else self.key.text

    @property
    def opened(self) -> "Plan | None":
        """The same plan with its open key and without `Origin`; None if there is no open key."""
        if self.open_key is None:
            return None
        request = without_origin(self.request)
        return replace(self, request=request, key=self.open_key, open_key=None)

    def kept_under(self, allow_origin: str) -> "Plan":
        """Return the plan under whose key an answer is stored.

        `allow_origin` is the answer's Access-Control-Allow-Origin. The result is `opened` if pages
        of any origin may read the answer and `opened` is not None. Otherwise it is this plan.
        """
        return (self.opened if allow_origin == ANY_ORIGIN else None) or self

    @property
    def credentials(self) -> Sequence[Header]:
        """The headers that identify the caller."""
        return credentials(self.request.headers)

    @property
    def entitled(self) -> Fullness:
        """How much of the field `usage` the upstream would send in its answer to this request."""
        return self.parsed.form.entitled

    @property
    def is_plain(self) -> bool:
        """Whether the answer to this request is a stream without the field `usage`.

        This request may join a request whose stream has `usage`. A request whose stream has
        `usage` must not join this request.
        """
        return self.entitled is Fullness.PLAIN


@dataclass(frozen=True, slots=True)
class EmbeddingsPlan:
    """An embeddings request that may use the cache: each input has an exact key of its own.

    `digests`: the exact keys of the inputs, in the order of the inputs.
    """

    request: ClientRequest
    parsed: EmbeddingsRequest
    control: CacheControl
    limits: Limits
    digests: Sequence[str]
    mode: Mode = Mode.SERVE


@dataclass(frozen=True, slots=True)
class Found:
    """What the look-up of one request has found so far.

    `seconds_left`: how many seconds the store may still take.
    `exact`: the response stored under the exact key, even if it must not be served; None if
    there is none.
    `embedding`: the embedding of the request's text; None if there is none.
    `candidates`: the nearest stored responses, nearest first; None before the search.
    `verdicts`: the verdicts on the candidates that were judged so far.
    `chosen`: the candidate that may be served; None if there is none.
    `failure`: the part of the cache that failed; None if no part failed.
    `epoch`: the store's epoch before the search; empty until the exact key was looked up.
    """

    seconds_left: float
    exact: StoredResponse | None = None
    embedding: Embedding | None = field(default=None, repr=False)
    candidates: Sequence[Candidate] | None = None
    verdicts: Sequence[Verdict] = ()
    chosen: Candidate | None = None
    failure: Failure | None = None
    epoch: str = ""

    @property
    def probability(self) -> float | None:
        """The verifier's probability for the chosen candidate; None if no verifier was asked."""
        told = (v.probability for v in self.verdicts if v.candidate is self.chosen)
        return next(told, None)

    @property
    def carried(self) -> Tagging:
        """The namespace and tags of the entry that the new answer will replace, if there is one."""
        return self.exact.tagging if self.exact else UNTAGGED
