"""The semantic cache: the same question first, then one that means the same."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app import policy
from app.errors import Failure, PartUnavailable
from app.headers import CacheControl
from app.judge import Judge
from app.models import CacheKey, Clock, Counts, Embedding, Header, Page, StoredResponse
from app.parts import Budget, EmbedderPart
from app.policy import Limits
from app.store_parts import StorePart

_SCANS = 50  # pages of the store that one page of a filtered list may cost


@dataclass(frozen=True, slots=True)
class Hit:
    """A stored response that answers; `distance` is None for an exact match."""

    stored: StoredResponse
    distance: float | None = None


@dataclass(slots=True)
class Lookup:
    """The look-up of one request, and what it has learnt so far.

    `credentials` are the caller's, `budget` is what the store may still cost, `embedding` that of
    the text, `failure` names the part that failed.
    """

    key: CacheKey
    control: CacheControl
    credentials: Sequence[Header] = field(repr=False)
    budget: Budget
    embedding: Embedding | None = None
    failure: Failure | None = None


class SemanticCache:
    """Finds and keeps stored responses. Nothing that goes wrong inside gets out."""

    def __init__(
        self,
        store: StorePart,
        embedder: EmbedderPart,
        judge: Judge,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._judge = judge
        self._limits = limits
        self._clock = clock

    @property
    def embedder(self) -> dict[str, str | int]:
        """The name and the dimensions of what embeds."""
        return {"name": self._embedder.name, "dimensions": self._embedder.dimensions}

    @property
    def epoch(self) -> str:
        """What a purge replaces; an answer that was asked for in another epoch is not stored."""
        return self._store.epoch

    def lookup(
        self, key: CacheKey, control: CacheControl, credentials: Sequence[Header] = ()
    ) -> Lookup:
        """Begin to look a request up."""
        return Lookup(key, control, credentials, Budget(self._limits.store_timeout))

    async def exact(self, lookup: Lookup) -> Hit | None:
        """Find an answer to the very same question."""
        if lookup.failure:
            return None
        try:
            stored = await self._store.get(lookup.key, lookup.budget)
        except PartUnavailable as unavailable:
            lookup.failure = unavailable.detail
            return None
        if stored and policy.may_answer(stored, lookup.control, self._clock()):
            return Hit(stored)
        return None

    async def semantic(self, lookup: Lookup) -> Hit | None:
        """Find an answer to a question that means the same; the embedding stays known."""
        await self.embed(lookup)
        if lookup.embedding is None or lookup.failure:
            return None
        try:
            neighbors = await self._store.nearest(
                lookup.key, lookup.embedding, self._limits.max_distance, lookup.budget
            )
            near = policy.candidates(neighbors, lookup.control, self._limits, self._clock())
            chosen = await self._judge.choose(lookup.key.text or "", near)
        except PartUnavailable as unavailable:
            lookup.failure = unavailable.detail
            return None
        return Hit(chosen.stored, max(0.0, chosen.distance)) if chosen else None

    async def embed(self, lookup: Lookup) -> None:
        """Embed the text of a request, once, if it has one and the cache is in order."""
        if lookup.key.text is None or lookup.failure or lookup.embedding is not None:
            return
        try:
            lookup.embedding = await self._embedder.embed(
                lookup.key.text, Budget(self._limits.embedder_timeout), lookup.credentials
            )
        except PartUnavailable as unavailable:
            lookup.failure = unavailable.detail

    def store(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Begin to store a response, and return at once."""
        self._store.put(stored, embedding)

    async def written(self, key: CacheKey) -> None:
        """Wait until a response that is being stored under a key is, or has failed to be."""
        await self._store.written(key.digest)

    async def entry(self, digest: str) -> StoredResponse | None:
        """Give a stored response to an operator. Raises PartUnavailable."""
        return await self._store.entry(digest)

    async def entries(self, cursor: str, limit: int, model: str | None) -> Page:
        """Give about `limit` stored responses, those of a model only if one is named.

        A page may be short, or empty, and yet not the last: its cursor tells. Raises
        PartUnavailable.
        """
        found: list[StoredResponse] = []
        for _ in range(_SCANS):
            page = await self._store.scan(cursor, limit - len(found))
            await asyncio.sleep(0)  # a store in process does not let others in
            found += [stored for stored in page.entries if model in {None, stored.model}]
            cursor = page.cursor
            if not cursor or len(found) >= limit:
                break
        return Page(found, cursor)

    async def delete(self, digest: str) -> bool:
        """Remove a stored response; tell whether there was one. Raises PartUnavailable."""
        return await self._store.delete(digest)

    async def purge(self) -> int:
        """Remove everything; tell how much there was. Raises PartUnavailable."""
        return await self._store.purge()

    async def size(self) -> int:
        """Tell how much a purge would remove. Raises PartUnavailable."""
        counts = await self._store.count(Budget(self._limits.store_timeout))
        return counts.chat_completions + counts.embeddings

    async def count(self) -> Counts | None:
        """Tell how much is stored; None if the store does not say."""
        try:
            return await self._store.count(Budget(self._limits.store_timeout))
        except PartUnavailable:
            return None

    async def facts(self) -> Mapping[str, object] | None:
        """Tell what there is to know of this kind of store; None if it does not say."""
        try:
            return await self._store.facts(Budget(self._limits.store_timeout))
        except PartUnavailable:
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
