"""The embedded store that survives a restart: a MemoryStore, and a journal in SQLite behind it.

Rules of this file: whatever changes is committed to the journal first and in memory then, so that
nothing is served that a restart could lose, and nothing comes back that was deleted or purged.
What is asked for is answered from memory alone.
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
from app.core.selectors import EVERYTHING, Selector
from app.stores import codec
from app.stores.memory.store import MemoryStore
from app.stores.seal import Seal
from app.stores.sqlite.commits import Commits
from app.stores.sqlite.journal import Amend, Append, Journal, Purge, Remove, Row, Turn

_logger = logging.getLogger("reprise.store")


class SqliteStore:
    """Keeps what a MemoryStore keeps, in a file as well.

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
        self._commits = Commits(journal, self._memory.holds)
        self._marking = asyncio.Lock()
        self._load(journal, path, clock())

    @property
    def epoch(self) -> str:
        """The token of the present epoch: what carries another one is not stored."""
        return self._memory.epoch

    async def get(self, digest: str) -> StoredResponse | None:
        """Return the response stored under an exact key, or None."""
        return await self._memory.get(digest)

    def use(self, digest: str) -> None:
        """Count an entry as used: it has answered."""
        self._memory.use(digest)

    async def nearest(
        self,
        partition: str,
        embedding: Embedding,
        k: int,
        max_distance: float,
    ) -> list[Candidate]:
        """Return up to `k` responses of a partition that are near enough, nearest first."""
        return await self._memory.nearest(partition, embedding, k, max_distance)

    async def put(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Store a response in place of an older one; without embedding, for exact matches only.

        Returns once it is committed. Raises Overloaded or sqlite3.Error.
        """
        stored = stored if stored.epoch else replace(stored, epoch=self.epoch)
        vector = None if embedding is None else codec.vector_bytes(embedding)
        stored = self._seal.with_vector(stored, vector)
        row = await by_size(len(stored.content), lambda: self._response_row(stored, vector))
        await self._commits.commit(Append([row]), lambda: self._memory.put(stored, embedding))

    async def delete(self, *digests: str) -> int:
        """Remove the responses stored under exact keys; return how many there were."""
        return await self._commits.commit(
            Remove([(Kind.ANSWER, digest) for digest in digests]),
            lambda: self._memory.delete(*digests),
        )

    async def mark(self, stored: StoredResponse, standing: Standing) -> bool:
        """Change how far an entry is trusted; return whether it was still as it was read."""
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
        """Change who may be answered by an entry; return whether it was still as it was read."""
        async with self._marking:  # what is said second is to see what was said first
            if self._memory.peek(stored.id) is not stored:
                return False
            row = await by_size(len(stored.content), lambda: self._response_row(amended, None))
            # An answer that takes its place meanwhile is another one, and stays as it is.
            await self._commits.commit(Amend(row), lambda: self._memory.amend(stored, amended))
            return True

    async def scan(self, cursor: str, limit: int, selector: Selector = EVERYTHING) -> Page:
        """Return the responses that are selected among the next `limit`, the oldest first."""
        return await self._memory.scan(cursor, limit, selector)

    async def embeddings_of(self, digests: Sequence[str]) -> list[Embedding | None]:
        """Return the embeddings by which responses are found, or None, in order."""
        return await self._memory.embeddings_of(digests)

    async def advance_epoch(self) -> None:
        """Let nothing be stored that was asked for before."""
        epoch = next_turn(self.epoch, secrets.token_hex(8))

        async def begin() -> None:
            self._memory.epoch = epoch

        await self._commits.commit(Turn(epoch), begin)

    async def purge(self) -> int:
        """Remove everything, and begin a new epoch; return how much there was."""
        epoch = secrets.token_hex(8)

        async def purge_memory() -> int:
            count = await self._memory.purge()
            self._memory.epoch = epoch
            return count

        return await self._commits.commit(Purge(epoch), purge_memory)

    async def get_embeddings(self, digests: Sequence[str]) -> list[StoredEmbedding | None]:
        """Return the embedding stored under each exact key, or None."""
        return await self._memory.get_embeddings(digests)

    async def put_embeddings(self, embeddings: Sequence[StoredEmbedding]) -> None:
        """Store embeddings in place of older ones.

        Returns once they are committed. Raises Overloaded or sqlite3.Error.
        """
        present = [e if e.epoch else replace(e, epoch=self.epoch) for e in embeddings]
        await self._commits.commit(
            Append([self._embedding_row(stored) for stored in present]),
            lambda: self._memory.put_embeddings(present),
        )

    async def scan_embeddings(self, cursor: str, limit: int, caller: str) -> tuple[list[str], str]:
        """Return the exact keys of a caller's embeddings among the next `limit`, and a cursor."""
        return await self._memory.scan_embeddings(cursor, limit, caller)

    async def delete_embeddings(self, *digests: str) -> int:
        """Remove the embeddings stored under exact keys; return how many there were."""
        return await self._commits.commit(
            Remove([(Kind.EMBEDDING, digest) for digest in digests]),
            lambda: self._memory.delete_embeddings(*digests),
        )

    async def count(self) -> Counts:
        """Count what is stored."""
        return await self._memory.count()

    async def facts(self) -> Mapping[str, object]:
        """Return no further facts."""
        return await self._memory.facts()

    async def aclose(self) -> None:
        """Write what is pending, and close the file."""
        await self._commits.aclose()
        await self._memory.aclose()

    def _drop(self, kind: Kind, digest: str) -> None:
        self._commits.drop(kind, digest)

    def _load(self, journal: Journal, path: Path, now: float) -> None:
        unreadable = exact_only = 0
        for row in journal.rows():
            try:
                exact_only += row.expires > now and self._keep(row)
            except (ValueError, TypeError):  # a damaged file may hold anything anywhere
                unreadable += 1
            if not self._memory.holds(row.kind, row.digest):
                self._drop(row.kind, row.digest)
        if unreadable:
            _logger.warning(
                "%s: %d entries cannot be read; the upstream is asked again for them",
                path,
                unreadable,
            )
        if exact_only:
            _logger.warning(
                "%s: %d entries were embedded by another model and answer exact matches only",
                path,
                exact_only,
            )

    def _keep(self, row: Row) -> bool:
        """Read a row into memory; return whether its embedding is of no use. Raises ValueError."""
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
        """Return the present epoch in place of an earlier turn of the same era."""
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
