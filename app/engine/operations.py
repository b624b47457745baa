"""What an operator does to what is stored: look, purge, judge.

All of it raises DependencyUnavailable.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from app.core.feedback import Standing
from app.core.models import Embedding, Page, StoredResponse
from app.core.selectors import EVERYTHING, Near, Selector
from app.engine.hits import HitCounts
from app.engine.resilience import Budget, ResilientEmbedder
from app.engine.resilient_store import ResilientStore
from app.rules.key import caller_name
from app.rules.plan import Policy

_SCANS = 50  # pages of the store that one page of a filtered list may cost
_AT_ONCE = 200  # entries that a purge looks at in one step
_PASSES = 3  # through the store, at most: while one goes on, entries may move or be stored
_SHOWN = 10  # entries of a preview
_NOBODY = ""  # the partition of no caller, for which an operator's texts are embedded


@dataclass(frozen=True, slots=True)
class Preview:
    """How much a purge would remove, and some of it."""

    count: int
    entries: Sequence[StoredResponse]


class Fate(StrEnum):
    """What became of an entry that was to be stored again."""

    IMPORTED = "imported"
    KEPT = "kept"  # as it was: it is there already, or a newer one is
    EXPIRED = "expired"


class Operations:
    """Looks after what is stored, on behalf of an operator.

    `mark` tells this start's cursors from those that an earlier start gave out, for stores that
    forget these; it has no hyphen.
    """

    def __init__(
        self,
        store: ResilientStore,
        embedder: ResilientEmbedder,
        policy: Policy,
        hits: HitCounts,
        mark: str,
    ) -> None:
        self.mark = mark
        self._store = store
        self._embedder = embedder
        self._limits = policy.limits
        self._keys = policy.keys
        self._hits = hits
        self._shape = (embedder.dimensions,)
        self._embedding = asyncio.Lock()  # so that clients do not have to wait in line for long

    @property
    def embedder(self) -> str:
        """The name of the model that embeds."""
        return self._embedder.name

    async def entry(self, digest: str) -> StoredResponse | None:
        """Return a stored response."""
        return await self._store.entry(digest)

    async def entries(self, cursor: str, limit: int, selector: Selector = EVERYTHING) -> Page:
        """Return up to `limit` stored responses that are selected.

        A page may be short, or empty, and yet not the last: its cursor tells.
        """
        found: list[StoredResponse] = []
        for _ in range(_SCANS):
            page = await self._store.scan(cursor, limit - len(found), selector)
            await asyncio.sleep(0)  # a store in process does not let others in
            found += page.entries
            cursor = page.cursor
            if not cursor or len(found) >= limit:
                break
        return Page(found, cursor)

    async def scan(self, cursor: str, limit: int, selector: Selector) -> Page:
        """Return what is selected among the next `limit` stored responses."""
        return await self._store.scan(cursor, limit, selector)

    async def embeddings_of(self, entries: Sequence[StoredResponse]) -> Sequence[Embedding | None]:
        """Return the embeddings by which some entries are found, or None, in order."""
        return await self._store.embeddings_of([stored.id for stored in entries])

    async def restore(
        self, stored: StoredResponse, embedding: Embedding | None, embedder: str
    ) -> Fate:
        """Store a response again, unless one that is as new is there; it counts as pinned.

        One that another model has embedded is embedded anew; where the present model cannot
        represent the text, it answers the very same question only.
        """
        known = await self._store.entry(stored.id)
        if known is not None and known.stored_at >= stored.stored_at:
            return Fate.KEPT
        is_ours = embedder == self.embedder
        if embedding is not None and not (is_ours and embedding.shape == self._shape):
            budget = Budget(self._limits.embedder_timeout)
            async with self._embedding:
                embedding = await self._embedder.embed(_NOBODY, stored.key.text or "", budget)
        await self._store.restore(replace(stored, is_pinned=True), embedding)
        return Fate.IMPORTED

    async def delete(self, digest: str) -> bool:
        """Remove a stored response; return whether there was one."""
        return bool(await self._store.delete(digest))

    async def feedback(self, digest: str, *, correct: bool) -> Standing | None:
        """Take note of what somebody says of an answer; None if nothing is stored under the id."""
        return await self._store.feedback(digest, correct=correct)

    def caller(self, credential: str) -> str:
        """Return the name of who sends a credential, as entries have it."""
        return caller_name(credential.encode(), self._keys)

    async def pin(self, digest: str, *, pinned: bool) -> bool:
        """Let an entry answer by meaning at once, or not; tell whether there is one."""
        return await self._store.pin(digest, pinned=pinned)

    async def near(self, text: str, max_distance: float) -> Near | None:
        """Say what means about the same as a text; None if the model cannot represent it."""
        budget = Budget(self._limits.embedder_timeout)
        embedding = await self._embedder.embed(_NOBODY, text, budget)
        return None if embedding is None else Near(embedding, max_distance)

    async def distances(self, near: Near, entries: Sequence[StoredResponse]) -> list[float | None]:
        """Return how far some entries are from a text."""
        embeddings = await self.embeddings_of(entries)
        return [None if e is None else near.distance(e) for e in embeddings]

    async def preview(self, selector: Selector) -> Preview:
        """Return what a purge would remove."""
        if selector == EVERYTHING:
            counts = await self._store.count(Budget(self._limits.store_timeout))
            page = await self.entries("", _SHOWN)
            return Preview(counts.answers + counts.embeddings, page.entries)
        count, shown = 0, list[StoredResponse]()
        async for entries in self._selected(selector):
            count += len(entries)
            shown += entries[: _SHOWN - len(shown)]
        if selector == Selector(caller=selector.caller):
            async for digests in self._embeddings_of_caller(selector.caller or ""):
                count += len(digests)
        return Preview(count, shown)

    async def purge(self, selector: Selector) -> int:
        """Remove what is selected; return how much that was.

        Answers that were asked for before are not stored any more, selected or not, since nobody
        knows yet what they will be.
        """
        if selector == EVERYTHING:
            return await self._store.purge()
        await self._store.advance_epoch()
        removed = 0
        for _ in range(_PASSES):
            before = removed
            async for entries in self._selected(selector):
                ids = [stored.id for stored in entries]
                removed += await self._store.delete(*ids)
                self._hits.forget(ids)
            if selector == Selector(caller=selector.caller):
                async for digests in self._embeddings_of_caller(selector.caller or ""):
                    removed += await self._store.delete_embeddings(*digests)
            if removed == before:
                break
        if selector.caller is not None:
            self._embedder.forget()
        return removed

    async def forget_known(self, upstream_id: str) -> bool:
        """Remove the answer that the upstream kept under an id, if this process has stored it.

        Return whether it was there.
        """
        if (digest := self._store.known_as(upstream_id)) is None:
            return False
        await self._store.written(digest)  # a client may delete what it has just read
        stored = await self._store.entry(digest)
        if stored is None or stored.upstream_id != upstream_id:
            return False
        return bool(await self._store.delete(digest))

    async def forget(self, upstream_ids: Collection[str]) -> None:
        """Remove the answers that the upstream kept under ids, whoever has stored them."""
        async for entries in self._selected(Selector(upstream_ids=frozenset(upstream_ids))):
            await self._store.delete(*(stored.id for stored in entries))

    async def _embeddings_of_caller(self, caller: str) -> AsyncIterator[Sequence[str]]:
        """Return the exact keys of all embeddings that were made for a caller, in slices."""
        cursor = ""
        while True:
            digests, cursor = await self._store.scan_embeddings(cursor, _AT_ONCE, caller)
            await asyncio.sleep(0)
            if digests:
                yield digests
            if not cursor:
                return

    async def _selected(self, selector: Selector) -> AsyncIterator[Sequence[StoredResponse]]:
        """Return all that is selected, in slices."""
        cursor = ""
        while True:
            page = await self._store.scan(cursor, _AT_ONCE, selector)
            await asyncio.sleep(0)
            if page.entries:
                yield page.entries
            if not (cursor := page.cursor):
                return
