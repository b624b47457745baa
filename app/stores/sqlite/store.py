"""The store in this process that survives a restart: a MemoryStore with a journal in SQLite.

Rules of this file: every change is committed to the journal first and made in memory after that. So
a restart loses no entry that has been served, and brings back no deleted entry. Reads use memory
only.
"""

import asyncio
import logging
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from app.core.epochs import is_dead, next_turn
from app.core.feedback import Standing
from app.core.models import (
    Candidate,
    Clock,
    Counts,
    Embedding,
    EmbeddingModel,
    Kind,
    Page,
    StoredEmbedding,
    StoredResponse,
)
from app.core.offload import by_size
from app.core.ports import Keeping
from app.core.selectors import EVERYTHING, Selector
from app.stores import codec
from app.stores.memory.store import MemoryStore
from app.stores.seal import Seal
from app.stores.sqlite.commits import Commits
from app.stores.sqlite.journal import Add, Amend, Append, Journal, Purge, Remove, Row, Turn

_logger = logging.getLogger("reprise.store")


class SqliteStore:
    """A MemoryStore whose entries are also kept in the file at `path`.

    Raises ConfigurationError if the file cannot be opened, or another process has it open.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is another thing that it needs
        self,
        path: Path,
        model: EmbeddingModel,
        max_entries: int,
        clock: Clock,
        on_evict: Callable[[str, str], None],
        seal: Seal | None = None,
        max_bytes: int = sys.maxsize,
    ) -> None:
        self._seal = seal or Seal(model=model.name)
        journal = Journal.open(path, clock)
        self._model = model
        self._memory = MemoryStore(max_entries, clock, on_evict, self._drop, max_bytes)
        self._memory.epoch = journal.epoch
        self._memory.keep_totals(journal.totals())
        self._commits = Commits(journal, self._memory.holds)
        self._marking = asyncio.Lock()
        self._load(journal, path, clock())

    @property
    def epoch(self) -> str:
        """The token of the current epoch; answers with another token are not stored."""
        return self._memory.epoch

    async def get(self, digest: str) -> StoredResponse | None:
        """Return the response stored under the exact key `digest`, or None."""
        return await self._memory.get(digest)

    def use(self, digest: str) -> None:
        """Record that an entry has answered a request.

        The least recently used entries are evicted first.
        """
        self._memory.use(digest)

    async def nearest(
        self,
        partition: str,
        embedding: Embedding,
        k: int,
        max_distance: float,
    ) -> list[Candidate]:
        """Return up to `k` candidates within `max_distance` of `embedding`, nearest first.

        Only responses of `partition` are searched.
        """
        return await self._memory.nearest(partition, embedding, k, max_distance)

    async def put(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Store a response, replacing any older one with the same exact key.

        If `embedding` is None, only exact matches find the response. Returns once the response is
        committed. Raises Overloaded if too many changes are waiting, sqlite3.Error if the commit
        fails.
        """
        stored = stored if stored.epoch else replace(stored, epoch=self.epoch)
        vector = None if embedding is None else codec.vector_bytes(embedding)
        stored = self._seal.with_vector(stored, vector)
        row = await by_size(len(stored.content), lambda: self._response_row(stored, vector))
        await self._commits.commit(Append([row]), lambda: self._memory.put(stored, embedding))

    async def delete(self, *digests: str) -> int:
        """Remove the responses with these exact keys; return how many were removed."""
        return await self._commits.commit(
            Remove([(Kind.ANSWER, digest) for digest in digests]),
            lambda: self._memory.delete(*digests),
        )

    async def mark(self, stored: StoredResponse, standing: Standing) -> bool:
        """Set how far an entry is trusted, unless the entry has changed since `stored` was read.

        Return whether the entry was unchanged.
        """
        if standing is not Standing.REMOVED:
            disputed = standing is Standing.EXACT_ONLY
            return await self.amend(stored, replace(stored, is_disputed=disputed))
        async with self._marking:
            if self._memory.peek(stored.id) is not stored:
                return False
            removal = Remove([(Kind.ANSWER, stored.id)])
            await self._commits.commit(removal, lambda: self._memory.mark(stored, standing))
            return True

    async def amend(self, stored: StoredResponse, amended: StoredResponse) -> bool:
        """Write `is_disputed`, `askers` and `is_pinned` of `amended` to an entry.

        If the entry has changed since `stored` was read, nothing is written. Return whether the
        entry was unchanged.
        """
        async with self._marking:  # a second report must see the result of the first
            if self._memory.peek(stored.id) is not stored:
                return False
            row = await by_size(len(stored.content), lambda: self._response_row(amended, None))
            # If a new answer replaces the entry meanwhile, Amend does not change that one.
            await self._commits.commit(Amend(row), lambda: self._memory.amend(stored, amended))
            return True

    async def scan(self, cursor: str, limit: int, selector: Selector = EVERYTHING) -> Page:
        """Read the next `limit` responses, oldest first. Return those that `selector` selects."""
        return await self._memory.scan(cursor, limit, selector)

    async def embeddings_of(self, digests: Sequence[str]) -> list[Embedding | None]:
        """Return the embeddings of the questions with these exact keys, in the same order.

        An item is None if no embedding is stored for its key.
        """
        return await self._memory.embeddings_of(digests)

    async def refresh_epoch(self) -> None:
        """Do nothing, because no other process replaces the epoch."""

    async def advance_epoch(self) -> None:
        """Replace the epoch but keep the entries.

        An answer that was requested before this call will not be stored.
        """
        epoch = next_turn(self.epoch, secrets.token_hex(8))

        async def begin() -> None:
            self._memory.epoch = epoch

        await self._commits.commit(Turn(epoch), begin)

    async def purge(self) -> int:
        """Remove all entries and replace the epoch. Return how many entries there were."""
        epoch = secrets.token_hex(8)

        async def purge_memory() -> int:
            count = await self._memory.purge()
            self._memory.epoch = epoch
            return count

        return await self._commits.commit(Purge(epoch), purge_memory)

    async def get_embeddings(self, digests: Sequence[str]) -> list[StoredEmbedding | None]:
        """Return the stored embeddings with these exact keys, in the same order.

        An item is None if no embedding is stored under its key.
        """
        return await self._memory.get_embeddings(digests)

    async def put_embeddings(self, embeddings: Sequence[StoredEmbedding]) -> None:
        """Store embeddings, replacing older ones with the same exact keys.

        Returns once the embeddings are committed. Raises Overloaded if too many changes are
        waiting, sqlite3.Error if the commit fails.
        """
        present = [e if e.epoch else replace(e, epoch=self.epoch) for e in embeddings]
        await self._commits.commit(
            Append([self._embedding_row(stored) for stored in present]),
            lambda: self._memory.put_embeddings(present),
        )

    async def scan_embeddings(self, cursor: str, limit: int, caller: str) -> tuple[list[str], str]:
        """Look at the next `limit` embeddings.

        Return the exact keys of the embeddings that were fetched for `caller`, and the next cursor.
        The next cursor is empty after the last embedding.
        """
        return await self._memory.scan_embeddings(cursor, limit, caller)

    async def delete_embeddings(self, *digests: str) -> int:
        """Remove the embeddings with these exact keys; return how many were removed."""
        return await self._commits.commit(
            Remove([(Kind.EMBEDDING, digest) for digest in digests]),
            lambda: self._memory.delete_embeddings(*digests),
        )

    async def count(self) -> Counts:
        """Return how many answers and embeddings are stored."""
        return await self._memory.count()

    async def facts(self) -> Mapping[str, object]:
        """Return an empty mapping, because only the store in Valkey has facts to report."""
        return await self._memory.facts()

    @property
    def totals_last(self) -> Keeping:
        """Where sums are kept: always `file`. A restart does not lose the sums."""
        return "file"

    async def add_totals(self, amounts: Mapping[str, int]) -> None:
        """Add each amount to the sum of the same name.

        Returns once the amounts are committed. Raises Overloaded if too many changes are waiting,
        sqlite3.Error if the commit fails.
        """
        await self._commits.commit(Add(amounts), lambda: self._memory.add_totals(amounts))

    async def totals(self) -> Mapping[str, int]:
        """Return all sums by name."""
        return await self._memory.totals()

    async def aclose(self) -> None:
        """Commit pending changes and close the file."""
        await self._commits.aclose()
        await self._memory.aclose()

    def _drop(self, kind: Kind, digest: str) -> None:
        self._commits.drop(kind, digest)

    def _load(self, journal: Journal, path: Path, now: float) -> None:
        unreadable = exact_only = 0
        for row in journal.rows():
            try:
                exact_only += row.expires > now and self._keep(row)
            except (ValueError, TypeError):  # in a damaged file, any column may have any value
                unreadable += 1
            if not self._memory.holds(row.kind, row.digest):
                self._drop(row.kind, row.digest)
        if unreadable:
            _logger.warning(
                "%s: %d entries cannot be read and are ignored",
                path,
                unreadable,
            )
        if exact_only:
            _logger.warning(
                "%s: %d entries were embedded by another model; they are exact matches only",
                path,
                exact_only,
            )

    def _keep(self, row: Row) -> bool:
        """Read a row into memory. Return True if the row has a vector that cannot be used.

        Raises ValueError if the row cannot be read.
        """
        fields = codec.fields_of(row.fields)
        if row.kind is Kind.EMBEDDING:
            known = self._seal.embedding_of(row.digest, fields)
            self._memory.keep_embeddings([replace(known, epoch=self._present(known.epoch))])
            return False
        stored = self._seal.response_of(row.digest, fields)
        stored = replace(stored, epoch=self._present(stored.epoch))
        embedding = self._embedding(row, stored)
        self._memory.keep(stored, embedding)
        return embedding is None and row.vector is not None

    def _present(self, epoch: str) -> str:
        """Return the current epoch if it has the same era (`core/epochs.py`) as `epoch`.

        Otherwise return `epoch`.
        """
        return epoch if is_dead(epoch, self.epoch) else self.epoch

    def _embedding(self, row: Row, stored: StoredResponse) -> Embedding | None:
        if row.vector is None or row.embedder != self._model.name:
            return None
        try:
            self._seal.check_vector(stored, row.vector)
            return codec.vector_of(row.vector, self._model.dimensions)
        except ValueError:
            return None

    def _response_row(self, stored: StoredResponse, vector: bytes | None) -> Row:
        return Row(
            Kind.ANSWER,
            stored.id,
            stored.stored_at + stored.lifetime,
            stored.epoch,
            codec.fields_bytes(self._seal.response_fields(stored)),
            vector,
            None if vector is None else self._model.name,
        )

    def _embedding_row(self, stored: StoredEmbedding) -> Row:
        return Row(
            Kind.EMBEDDING,
            stored.id,
            stored.stored_at + stored.lifetime,
            stored.epoch,
            codec.fields_bytes(self._seal.embedding_fields(stored)),
        )
