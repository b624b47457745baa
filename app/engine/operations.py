"""The actions of operators on entries: list, purge, import, pin, unpin, report an answer.

Every method that uses the store or the embedder may raise DependencyUnavailable.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from app.core.feedback import Standing
from app.core.models import Embedding, Page, StoredResponse
from app.core.selectors import EVERYTHING, Near, Selector
from app.engine.doubts import Doubts
from app.engine.hits import HitCounts
from app.engine.pairs import Pairs
from app.engine.resilience import Budget, ResilientEmbedder
from app.engine.resilient_store import ResilientStore
from app.engine.wordings import Wordings
from app.rules.key import caller_name
from app.rules.plan import Policy

_SCANS = 50  # the most pages of the store that are read for one page of a filtered list
_AT_ONCE = 200  # entries that a purge looks at in one step
_PASSES = 3  # the most passes of a purge: during a pass, entries may move or be stored
_SHOWN = 10  # entries shown in a preview
_NOBODY = ""  # the partition for embedding operators' texts; no caller has it


@dataclass(frozen=True, slots=True)
class Preview:
    """The number of entries that a purge would remove, and a few of these entries to show."""

    count: int
    entries: Sequence[StoredResponse]


class Fate(StrEnum):
    """The result of importing an entry."""

    IMPORTED = "imported"
    KEPT = "kept"  # not imported: the store has it already, or a newer one
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Seen:
    """Data that only this process has about entries. The store does not contain these data."""

    hits: HitCounts
    wordings: Wordings
    pairs: Pairs
    doubts: Doubts

    def forget(self, entries: Sequence[str]) -> None:
        """Forget the texts of questions that belong to the entries with these ids."""
        self.wordings.forget(entries)
        self.pairs.forget(entries)
        self.doubts.forget(entries)

    def clear(self) -> None:
        """Forget all texts of questions."""
        self.wordings.clear()
        self.pairs.clear()
        self.doubts.clear()


class Operations:
    """The actions of operators on stored entries.

    `mark` is a text without hyphens, and part of each cursor that a client gets. Some stores lose
    their cursors when the process ends. With such a store, each start of the process uses a new
    `mark`, so that older cursors are recognised. With other stores, `mark` is empty.
    """

    def __init__(
        self,
        store: ResilientStore,
        embedder: ResilientEmbedder,
        policy: Policy,
        seen: Seen,
        mark: str,
    ) -> None:
        self.mark = mark
        self._store = store
        self._embedder = embedder
        self._limits = policy.limits
        self._keys = policy.keys
        self._seen = seen
        self._shape = (embedder.dimensions,)
        self._embedding = asyncio.Lock()  # one text at a time, so that clients do not wait long

    @property
    def embedder(self) -> str:
        """The name of the embedding model."""
        return self._embedder.name

    async def entry(self, digest: str) -> StoredResponse | None:
        """Return the response stored under the exact key `digest`, or None if none exists."""
        return await self._store.entry(digest)

    async def entries(self, cursor: str, limit: int, selector: Selector = EVERYTHING) -> Page:
        """Return a page of up to `limit` stored responses that `selector` selects.

        For the first page, `cursor` is empty. For each later page, `cursor` is the cursor of the
        page before. The last page has an empty cursor. Other pages, too, may have fewer than
        `limit` responses.
        """
        found: list[StoredResponse] = []
        for _ in range(_SCANS):
            page = await self._store.scan(cursor, limit - len(found), selector)
            await asyncio.sleep(0)  # a store in memory never yields to the event loop
            found += page.entries
            cursor = page.cursor
            if not cursor or len(found) >= limit:
                break
        return Page(found, cursor)

    async def scan(self, cursor: str, limit: int, selector: Selector) -> Page:
        """Ask the store once for a page of up to `limit` responses that `selector` selects.

        `cursor` works as in `entries`.
        """
        return await self._store.scan(cursor, limit, selector)

    async def embeddings_of(self, entries: Sequence[StoredResponse]) -> Sequence[Embedding | None]:
        """Return the embedding of each entry's question, in order; None if it is not stored."""
        return await self._store.embeddings_of([stored.id for stored in entries])

    async def restore(
        self, stored: StoredResponse, embedding: Embedding | None, embedder: str
    ) -> Fate:
        """Import a response and pin it, unless the store has an entry that is at least as new.

        `embedder` is the name of the model that computed `embedding`. If this is not the present
        model, the question is embedded again. If `embedding` is None, or if the present model
        cannot represent the question, the entry can be found only by exact key.
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
        """Remove the response stored under an exact key; return whether it existed."""
        self._seen.forget([digest])
        return bool(await self._store.delete(digest))

    async def feedback(self, digest: str, *, correct: bool) -> Standing | None:
        """Apply a report that the answer of an entry is right (`correct`) or wrong.

        Return the entry's new Standing, which says how far the entry is trusted. Return None if no
        entry has the id `digest`.
        """
        return await self._store.feedback(digest, correct=correct)

    def caller(self, credential: str) -> str:
        """Return the name of the caller with this credential, as it is written in entries."""
        return caller_name(credential.encode(), self._keys)

    async def pin(self, digest: str, *, pinned: bool) -> bool:
        """Pin or unpin an entry; return False if there is no entry with the id `digest`."""
        return await self._store.pin(digest, pinned=pinned)

    async def near(self, text: str, max_distance: float) -> Near | None:
        """Return a selection: all entries within the cosine distance `max_distance` of a text.

        Return None if the text cannot be embedded.
        """
        budget = Budget(self._limits.embedder_timeout)
        embedding = await self._embedder.embed(_NOBODY, text, budget)
        return None if embedding is None else Near(embedding, max_distance)

    async def distances(self, near: Near, entries: Sequence[StoredResponse]) -> list[float | None]:
        """Return the cosine distance of each entry's question from the text of `near`, in order.

        The distance is None for an entry without an embedding.
        """
        embeddings = await self.embeddings_of(entries)
        return [None if e is None else near.distance(e) for e in embeddings]

    async def preview(self, selector: Selector) -> Preview:
        """Return the number of entries that `purge` would remove, and a few of these entries."""
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
        """Remove the selected entries; return how many were removed.

        Answers that are being fetched during the purge are not stored, because the selector might
        select them.
        """
        # It is not known which caller asked a question, so the texts of all questions are removed.
        self._seen.clear()
        if selector == EVERYTHING:
            return await self._store.purge()
        await self._store.advance_epoch()
        removed = 0
        for _ in range(_PASSES):
            before = removed
            async for entries in self._selected(selector):
                ids = [stored.id for stored in entries]
                removed += await self._store.delete(*ids)
                self._seen.hits.forget(ids)
            if selector == Selector(caller=selector.caller):
                async for digests in self._embeddings_of_caller(selector.caller or ""):
                    removed += await self._store.delete_embeddings(*digests)
            if removed == before:
                break
        if selector.caller is not None:
            self._embedder.forget()
        return removed

    async def forget_known(self, upstream_id: str) -> bool:
        """Remove an answer if this process has stored it recently.

        `upstream_id` is the id of the answer at the upstream. Return whether the answer was
        removed.
        """
        if (digest := self._store.known_as(upstream_id)) is None:
            return False
        await self._store.written(digest)  # a client may delete what it has just read
        stored = await self._store.entry(digest)
        if stored is None or stored.upstream_id != upstream_id:
            return False
        self._seen.forget([digest])
        return bool(await self._store.delete(digest))

    async def forget(self, upstream_ids: Collection[str]) -> None:
        """Remove answers, even if another process of the fleet has stored them.

        `upstream_ids` are the ids of the answers at the upstream.
        """
        async for entries in self._selected(Selector(upstream_ids=frozenset(upstream_ids))):
            ids = [stored.id for stored in entries]
            self._seen.forget(ids)
            await self._store.delete(*ids)

    async def _embeddings_of_caller(self, caller: str) -> AsyncIterator[Sequence[str]]:
        """Yield lists with the exact keys of all embeddings that were fetched for a caller."""
        cursor = ""
        while True:
            digests, cursor = await self._store.scan_embeddings(cursor, _AT_ONCE, caller)
            await asyncio.sleep(0)
            if digests:
                yield digests
            if not cursor:
                return

    async def _selected(self, selector: Selector) -> AsyncIterator[Sequence[StoredResponse]]:
        """Yield lists that together contain all entries that `selector` selects."""
        cursor = ""
        while True:
            page = await self._store.scan(cursor, _AT_ONCE, selector)
            await asyncio.sleep(0)
            if page.entries:
                yield page.entries
            if not (cursor := page.cursor):
                return
