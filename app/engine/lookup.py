"""The semantic cache: the same question first, then one that means the same."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.core.errors import DependencyUnavailable, Failure
from app.core.models import (
    Aging,
    CacheKey,
    Candidate,
    Clock,
    Counts,
    Embedding,
    Fullness,
    Header,
    StoredResponse,
)
from app.core.tags import UNTAGGED, Tagging
from app.engine.hits import HitCounts
from app.engine.matcher import Matcher, Verdict
from app.engine.resilience import Budget, ResilientEmbedder
from app.engine.resilient_store import ResilientStore
from app.rules import cacheability, freshness
from app.rules.cacheability import Limits
from app.rules.headers import CacheControl

_FARTHEST = 2.0  # no cosine distance is greater
_LAST_ATTEMPTS = 3

MayServe = Callable[[Aging, float], bool]
"""Tells whether a stored response may serve at a time."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A stored response that answers; `distance` is None for an exact match."""

    stored: StoredResponse
    distance: float | None = None


@dataclass(slots=True)
class Watch:
    """What a look-up comes across, for whoever asks why it ends as it does.

    `exact` is stored under the very key, fresh or not; `nearest` come nearest first, near enough
    or not, and `candidates` are those of them that were near and fresh enough to be judged, or may
    serve stale. A look-up that is watched decides like any other; its refusals are not counted, and
    what it reads is not used.
    """

    exact: StoredResponse | None = None
    nearest: Sequence[Candidate] | None = None
    candidates: list[Candidate] = field(default_factory=list)
    opinions: list[Verdict] = field(default_factory=list)


@dataclass(slots=True)
class Lookup:
    """The look-up of one request, and what it has learnt so far.

    `credentials` are the caller's, `budget` is what the store may still cost, `max_distance` how
    far away an answer may be, `tagging` are the request's, `carried` those of the entry whose place
    the answer will take. An answer that has less of `usage` than the request is `entitled` to does
    not serve. `embedding` is that of the text, `is_stale` tells that the very same question has an
    answer, but a stale one, `failure` names the part that failed.
    """

    key: CacheKey
    control: CacheControl
    credentials: Sequence[Header] = field(repr=False)
    budget: Budget
    max_distance: float
    tagging: Tagging = UNTAGGED
    carried: Tagging = UNTAGGED
    entitled: Fullness = Fullness.PLAIN
    embedding: Embedding | None = None
    is_stale: bool = False
    failure: Failure | None = None
    watch: Watch | None = None


class SemanticCache:
    """Finds and keeps stored responses. Nothing that goes wrong inside gets out."""

    def __init__(
        self,
        store: ResilientStore,
        embedder: ResilientEmbedder,
        judge: Matcher,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._judge = judge
        self._limits = limits
        self._clock = clock
        self.hits = HitCounts()

    @property
    def embedder(self) -> dict[str, str | int]:
        """The name and the dimensions of what embeds."""
        return {"name": self._embedder.name, "dimensions": self._embedder.dimensions}

    @property
    def epoch(self) -> str:
        """What a purge replaces; an answer that was asked for in another epoch is not stored."""
        return self._store.epoch

    def lookup(
        self,
        key: CacheKey,
        control: CacheControl,
        credentials: Sequence[Header] = (),
        max_distance: float | None = None,
    ) -> Lookup:
        """Begin to look a request up, which may be stricter about distance than the operator."""
        most = self._limits.max_distance
        if max_distance is not None:
            most = min(most, max_distance)
        return Lookup(key, control, credentials, Budget(self._limits.store_timeout), most)

    def again(self, lookup: Lookup) -> Lookup:
        """Begin the same look-up anew; the embedding stays known."""
        budget = Budget(self._limits.store_timeout)
        return replace(lookup, budget=budget, is_stale=False, failure=None)

    async def exact(self, lookup: Lookup) -> Hit | None:
        """Find an answer to the very same question, fresh or stale."""
        return await self._exact(lookup, self._answering(lookup.control))

    async def semantic(self, lookup: Lookup) -> Hit | None:
        """Find an answer to a question that means the same; the embedding stays known.

        A stale one answers only if no fresh one does.
        """
        return await self._semantic(lookup, self._answering(lookup.control))

    async def stand_in(self, lookup: Lookup) -> Hit | None:
        """Find what may answer because the upstream has failed; the same question comes first.

        Nothing else can answer any more, so that a store which is merely slow is asked again.
        """
        control, limits = lookup.control, self._limits
        rules: list[MayServe] = [
            lambda stored, now: freshness.may_stand_in(stored, control, limits, now)
        ]
        for _ in range(_LAST_ATTEMPTS):
            again = self.again(lookup)
            again.budget.is_last = True
            hit = await self._exact(again, rules) or await self._semantic(again, rules)
            if hit or again.failure != "store-unavailable":
                return hit
        return None

    def _answering(self, control: CacheControl) -> list[MayServe]:
        """Give the rules of what may answer, in the order in which they are tried."""
        limits = self._limits
        return [
            lambda stored, now: freshness.may_answer(stored, control, now),
            lambda stored, now: freshness.may_answer_stale(stored, control, limits, now),
        ]

    async def _exact(self, lookup: Lookup, rules: Sequence[MayServe]) -> Hit | None:
        if lookup.failure:
            return None
        try:
            stored = await self._store.get(lookup.key, lookup.budget, peek=lookup.watch is not None)
        except DependencyUnavailable as unavailable:
            lookup.failure = unavailable.detail
            return None
        if lookup.watch is not None:
            lookup.watch.exact = stored
        if stored is None:
            return None
        lookup.carried = stored.tagging
        if not stored.tagging.cover(lookup.tagging) or stored.fullness < lookup.entitled:
            return None
        now = self._clock()
        lookup.is_stale = not stored.is_fresh(now)
        return Hit(stored) if any(rule(stored, now) for rule in rules) else None

    async def _semantic(self, lookup: Lookup, rules: Sequence[MayServe]) -> Hit | None:
        await self.embed(lookup)
        if lookup.embedding is None or lookup.failure:
            return None
        watch = lookup.watch
        reach = lookup.max_distance if watch is None else _FARTHEST
        try:
            candidates = await self._store.nearest(
                lookup.key, lookup.embedding, reach, lookup.budget, peek=watch is not None
            )
            note = None
            if watch is not None:
                watch.nearest, note = candidates, watch.opinions.append
            usable = [
                n
                for n in candidates
                if cacheability.may_be_reworded(n.stored, lookup.tagging, lookup.entitled)
            ]
            for near in self._in_turn(usable, lookup.max_distance, rules):
                if watch is not None:
                    watch.candidates += near
                chosen = await self._judge.choose(lookup.key.text or "", near, note)
                if chosen:
                    return Hit(chosen.stored, max(0.0, chosen.distance))
        except DependencyUnavailable as unavailable:
            lookup.failure = unavailable.detail
        return None

    def _in_turn(
        self, candidates: Sequence[Candidate], max_distance: float, rules: Sequence[MayServe]
    ) -> Iterator[list[Candidate]]:
        """Give the neighbours that each rule lets answer and no earlier one did, nearest first."""
        now, left = self._clock(), candidates
        for rule in rules:
            serving, rest = list[Candidate](), list[Candidate]()
            for candidate in left:
                (serving if rule(candidate.stored, now) else rest).append(candidate)
            left = rest
            if near := cacheability.candidates(serving, max_distance):
                yield near

    async def embed(self, lookup: Lookup) -> None:
        """Embed the text of a request, once, if it has one and the cache is in order."""
        if lookup.key.text is None or lookup.failure or lookup.embedding is not None:
            return
        try:
            lookup.embedding = await self._embedder.embed(
                lookup.key.partition,
                lookup.key.text,
                Budget(self._limits.embedder_timeout),
                lookup.credentials,
            )
        except DependencyUnavailable as unavailable:
            lookup.failure = unavailable.detail

    def store(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Begin to store a response, and return at once."""
        self._store.put(stored, embedding)

    async def written(self, key: CacheKey) -> None:
        """Wait until a response that is being stored under a key is, or has failed to be."""
        await self._store.written(key.digest)

    async def count(self) -> Counts | None:
        """Tell how much is stored; None if the store does not say."""
        try:
            return await self._store.count(Budget(self._limits.store_timeout))
        except DependencyUnavailable:
            return None

    async def facts(self) -> Mapping[str, object] | None:
        """Tell what there is to know of this kind of store; None if it does not say."""
        try:
            return await self._store.facts(Budget(self._limits.store_timeout))
        except DependencyUnavailable:
            return None

    async def degraded(self) -> list[str]:
        """Name the parts that are down."""
        is_silent = await self.count() is None
        down = {
            "store": is_silent or self._store.is_down,
            "embedder": self._embedder.is_down,
            "verifier": self._judge.is_down,
        }
        return [name for name, is_down in down.items() if is_down]

    async def aclose(self) -> None:
        """Finish what is being written, then close the parts."""
        await self._store.aclose()
        await self._embedder.aclose()
        await self._judge.aclose()
