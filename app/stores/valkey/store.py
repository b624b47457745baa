"""The shared store: Valkey with valkey-search, used by any number of proxies at once.

Entries are divided into generations, each with its own index, because an index never frees the
memory of expired entries. Entries are written to the newest generation and searched in all of them.
The oldest generation is dropped as a whole.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from app.core.errors import Declined, DependencyFailed
from app.core.feedback import Standing
from app.core.models import (
    Aging,
    Candidate,
    Clock,
    Counts,
    Embedding,
    EmbeddingModel,
    Page,
    StoredEmbedding,
    StoredResponse,
)
from app.core.offload import by_size
from app.core.ports import Keeping
from app.core.selectors import EVERYTHING, Selector
from app.stores.codec import vector_bytes
from app.stores.seal import Seal
from app.stores.valkey.client import Command, OutOfMemory, Reply, checked
from app.stores.valkey.cluster.client import servers_at
from app.stores.valkey.entries import (
    Reader,
    amend_response,
    embedding_in,
    read_embedding,
    read_life,
    read_response,
    read_vector,
    write_embedding,
    write_response,
)
from app.stores.valkey.generations import Generations, SearchUnavailable
from app.stores.valkey.keys import Keys, embedding_key
from app.stores.valkey.search import (
    IndexOptions,
    Search,
    found_in,
    is_missing,
    is_not_loaded,
    knows_no_all_shards,
    search_index,
)
from app.stores.valkey.survey import Survey
from app.stores.valkey.totals import add_totals, read_totals
from app.stores.valkey.upkeep import Upkeep
from app.stores.valkey.url import Address

_SEARCH_SHARE = 0.8  # share of a look-up's time after which the server gives a search up
_ATTEMPTS = 2  # a second one if the server has other generations, or another epoch, than expected
_EXTRA = 12  # additional neighbours to search for, since some may have expired
_EXTRA_READ = 4  # how many of the additional neighbours are read


class ValkeyStore:
    """Stored responses and embeddings in Valkey. `seconds` is the time limit of a look-up."""

    def __init__(  # noqa: PLR0913, PLR0917 - each is another thing that it needs
        self,
        address: Address,
        model: EmbeddingModel,
        options: IndexOptions,
        seconds: float,
        clock: Clock,
        seal: Seal | None = None,
    ) -> None:
        self._seal = seal or Seal(model=model.name)
        self._keys = Keys.of(model.name, model.dimensions)
        self._dimensions = model.dimensions
        self._options = options
        self._seconds = seconds
        self._clock = clock
        self._says_all_shards = True
        self._reads, self._writes = servers_at(address, seconds)
        self._generations = Generations(self._writes, self._keys, model.dimensions, options)
        self._upkeep = Upkeep(self._writes, self._generations, options)
        self._survey = Survey(self._reads, self._generations, self._reader)

    @property
    def epoch(self) -> str:
        """The token of the epoch that was last read from the server."""
        return self._generations.epoch

    def use(self, digest: str) -> None:
        """Do nothing. The server itself records the use of entries and decides what to evict."""

    async def get(self, digest: str) -> StoredResponse | None:
        """Return the response with the exact key `digest`, or None. Takes one round trip."""

        def ask(numbers: Sequence[int]) -> list[Command]:
            return [read_response(self._keys.entry(number, digest)) for number in numbers]

        replies = await self._ask(ask)
        reader = self._reader()
        for reply in replies:  # newest generation first
            if isinstance(reply, Declined):
                return None  # that node may have a newer answer than the older generations
            if (stored := await self._read(reader, digest, reply)) is not None:
                return stored
        return None

    async def nearest(
        self,
        partition: str,
        embedding: Embedding,
        k: int,
        max_distance: float,
    ) -> list[Candidate]:
        """Return up to `k` candidates within `max_distance` of `embedding`, nearest first.

        Only responses of `partition` are searched. The first round trip searches. The second one
        reads only the entries that the search found. Raises SearchUnavailable if the server cannot
        search, TimeoutError if a search did not finish.
        """
        if embedding.shape != (self._dimensions,):
            raise ValueError("the embedding has an unexpected shape")
        search = Search(
            partition, vector_bytes(embedding), k + _EXTRA, _SEARCH_SHARE * self._seconds
        )
        near = [hit for hit in await self._find(search) if hit[0] <= max_distance]
        near = near[: k + _EXTRA_READ]
        if not near:
            return []
        commands = [c for _, key in near for c in (read_response(key), read_vector(key))]
        *replies, numbers, epoch = await self._reads.call(*commands, *self._generations.state)
        self._generations.note(numbers, epoch)
        reader, candidates = self._reader(), []
        for (distance, key), values, raw in zip(near, replies[::2], replies[1::2], strict=True):
            stored = await self._read(reader, self._keys.digest_of(key), values)
            # Without a vector, it was replaced meanwhile by an entry for exact matches only.
            if (
                stored
                and stored.key.partition == partition
                and embedding_in(raw, self._dimensions) is not None
                and reader.is_found_by(stored, raw)
            ):
                candidates.append(Candidate(stored, distance))
        return candidates[:k]

    async def put(self, stored: StoredResponse, embedding: Embedding | None) -> None:
        """Store a response, replacing any older one with the same exact key.

        If `embedding` is None, only exact matches find the response. Takes one round trip.
        """
        for _ in range(_ATTEMPTS):
            numbers = await self._generations.known()
            epoch = self.epoch
            milliseconds = self._remaining(stored)
            if stored.epoch not in ("", epoch) or milliseconds <= 0:
                return
            newest, *others = (self._keys.entry(number, stored.id) for number in numbers)
            present = replace(stored, epoch=epoch)
            write = partial(write_response, newest, present, embedding, milliseconds, self._seal)
            inserts = await self._write(
                await by_size(len(stored.content), write),
                ("HINCRBY", self._keys.inserts, numbers[0], 1),
                *(("UNLINK", other) for other in others),
            )
            if self._generations.numbers[0] == numbers[0] and self._generations.token == epoch:
                self._upkeep.inserted(numbers[0], inserts[1])
                return
            await self._write(("UNLINK", newest))  # undo: it was purged meanwhile, or has no index

    async def delete(self, *digests: str) -> int:
        """Remove the responses with these exact keys; return how many were removed."""
        there: set[str] = set()
        for _ in range(_ATTEMPTS):
            numbers = await self._generations.known()
            keys = [self._keys.entry(number, digest) for digest in digests for number in numbers]
            commands = [command for key in keys for command in (read_life(key), ("UNLINK", key))]
            *replies, told, epoch = await self._writes.call(*commands, *self._generations.state)
            is_all = self._generations.note(told, epoch)
            reader = self._reader()
            for key, life, unlinked in zip(keys, replies[::2], replies[1::2], strict=True):
                if checked(unlinked) and reader.is_alive(life):
                    there.add(self._keys.digest_of(key))
            if is_all:
                break
        return len(there)

    async def mark(self, stored: StoredResponse, standing: Standing) -> bool:
        """Set how far an entry is trusted, unless the entry has changed since `stored` was read.

        Return whether the entry was unchanged.
        """
        if standing is Standing.REMOVED:
            return await self._amend(stored, None)
        disputed = standing is Standing.EXACT_ONLY
        return await self._amend(stored, replace(stored, is_disputed=disputed))

    async def amend(self, stored: StoredResponse, amended: StoredResponse) -> bool:
        """Write `is_disputed`, `askers` and `is_pinned` of `amended` to an entry.

        If the entry has changed since `stored` was read, nothing is written. Return whether the
        entry was unchanged.
        """
        return await self._amend(stored, amended)

    async def _amend(self, stored: StoredResponse, amended: StoredResponse | None) -> bool:
        keys = [self._keys.entry(n, stored.id) for n in await self._generations.known()]
        return any(
            await self._write(*(amend_response(key, stored, amended, self._seal) for key in keys))
        )

    async def get_embeddings(self, digests: Sequence[str]) -> list[StoredEmbedding | None]:
        """Return the stored embeddings with these exact keys, in the same order.

        An item is None if no embedding is stored under its key. Takes one round trip.
        """
        replies = await self._ask(lambda _: [read_embedding(embedding_key(d)) for d in digests])
        reader = self._reader()
        return [reader.embedding(d, reply) for d, reply in zip(digests, replies, strict=True)]

    async def put_embeddings(self, embeddings: Sequence[StoredEmbedding]) -> None:
        """Store embeddings, replacing older ones with the same exact keys. Takes one round trip."""
        for _ in range(_ATTEMPTS):
            await self._generations.known()
            epoch = self.epoch
            writes = [
                write_embedding(embedding_key(e.id), replace(e, epoch=epoch), left, self._seal)
                for e in embeddings
                if e.epoch in ("", epoch) and (left := self._remaining(e)) > 0
            ]
            if writes:
                await self._write(*writes)
            if self._generations.token == epoch:
                return

    async def scan_embeddings(self, cursor: str, limit: int, caller: str) -> tuple[list[str], str]:
        """Look at about the next `limit` embeddings.

        Return the exact keys of the embeddings that were fetched for `caller`, and the next cursor.
        The next cursor is empty after the last embedding.
        """
        return await self._survey.scan_embeddings(cursor, limit, caller)

    async def delete_embeddings(self, *digests: str) -> int:
        """Remove the embeddings with these exact keys; return how many were removed."""
        alive = sum(found is not None for found in await self.get_embeddings(digests))
        await self._write(*(("UNLINK", embedding_key(digest)) for digest in digests))
        return alive

    async def scan(self, cursor: str, limit: int, selector: Selector = EVERYTHING) -> Page:
        """Read the next `limit` responses. Return those that `selector` selects."""
        return await self._survey.scan(cursor, limit, selector)

    async def embeddings_of(self, digests: Sequence[str]) -> list[Embedding | None]:
        """Return the embeddings of the questions with these exact keys, in the same order.

        An item is None if no embedding is stored for its key.
        """

        def ask(numbers: Sequence[int]) -> list[Command]:
            return [
                read_vector(self._keys.entry(number, digest))
                for number in numbers
                for digest in digests
            ]

        found: dict[str, Embedding] = {}
        replies = await self._ask(ask)
        for index, raw in enumerate(replies):  # newest generation first
            if (embedding := embedding_in(raw, self._dimensions)) is not None:
                found.setdefault(digests[index % len(digests)], embedding)
        return [found.get(digest) for digest in digests]

    async def refresh_epoch(self) -> None:
        """Read the epoch from the server. Takes one round trip."""
        await self._ask(lambda _: [])

    async def advance_epoch(self) -> None:
        """Replace the epoch but keep the entries.

        No proxy will store an answer that was requested before this call.
        """
        await self._generations.advance_epoch()

    async def purge(self) -> int:
        """Make all entries unreadable at once, for all proxies. Return how many entries there were.

        The memory of the entries is freed gradually after that.
        """
        alive = Counts(0, 0)
        # The entries of a shard that is away cannot be counted, but they are purged, too.
        with suppress(Declined, DependencyFailed, TimeoutError):
            alive = await self._survey.count()
        await self._upkeep.purge()
        return alive.answers + alive.embeddings

    async def count(self) -> Counts:
        """Return how many answers and embeddings are stored.

        The counts are estimates if there are more than 500 keys.
        """
        return await self._survey.count()

    async def facts(self) -> Mapping[str, object]:
        """Return facts about the generations, and about the indexes of other embedding models."""
        return await self._survey.facts()

    @property
    def totals_last(self) -> Keeping:
        """Where sums are kept: always `fleet`. All proxies that use this server share the sums."""
        return "fleet"

    async def add_totals(self, amounts: Mapping[str, int]) -> None:
        """Add each amount to the sum of the same name. Takes one round trip."""
        await add_totals(self._writes, amounts)

    async def totals(self) -> Mapping[str, int]:
        """Return all sums by name. Takes one round trip."""
        return await read_totals(self._writes)

    async def aclose(self) -> None:
        """Stop background work and disconnect. Another proxy will finish that work."""
        for part in (self._upkeep, self._generations, self._reads, self._writes):
            await part.aclose()

    def _reader(self) -> Reader:
        return Reader(self._generations.token, self._clock(), self._seal)

    async def _read(self, reader: Reader, digest: str, reply: Reply) -> StoredResponse | None:
        size = sum(map(len, filter(None, reply))) if isinstance(reply, list) else 0
        return await by_size(size, lambda: reader.response(digest, reply))

    def _remaining(self, stored: Aging) -> int:
        return math.ceil(stored.left(self._clock()) * 1000)

    async def _ask(self, ask: Callable[[Sequence[int]], Sequence[Command]]) -> list[Reply]:
        """Send the commands that `ask` makes for the living generations; return the replies.

        If the server has generations that this proxy did not know, the commands are made and sent a
        second time.
        """
        for _ in range(_ATTEMPTS):
            numbers = await self._generations.known()
            *replies, told, epoch = await self._reads.call(*ask(numbers), *self._generations.state)
            if self._generations.note(told, epoch):
                break
        return replies

    async def _write(self, *commands: Command) -> list[Reply]:
        """Send commands that write; return their replies. Raises the first error reply."""
        *replies, told, epoch = await self._writes.call(*commands, *self._generations.state)
        if any(isinstance(reply, OutOfMemory) for reply in replies):
            self._upkeep.relieve()
        self._generations.note(told, epoch)
        return [checked(reply) for reply in replies]

    async def _find(self, search: Search) -> list[tuple[float, str]]:
        """Search all living generations; return pairs (distance, key), nearest first.

        If several generations have an entry with the same digest, only the pair from the newest of
        these generations is returned.
        """

        def ask(numbers: Sequence[int]) -> list[Command]:
            return [
                search_index(
                    self._keys.index(number),
                    search,
                    self._options,
                    says_all_shards=self._says_all_shards,
                )
                for number in numbers
            ]

        replies = await self._ask(ask)
        if self._says_all_shards and any(map(knows_no_all_shards, replies)):
            self._says_all_shards = False
            replies = await self._ask(ask)
            # If it fails without ALLSHARDS too, that option was not the cause: keep using it, as
            # without it an incomplete result would look complete.
            self._says_all_shards = any(isinstance(reply, Exception) for reply in replies)
        nearest: dict[str, tuple[float, str]] = {}
        for reply in replies:  # newest generation first
            for key, distance in self._found(reply):
                nearest.setdefault(self._keys.digest_of(key), (distance, key))
        return sorted(nearest.values())

    def _found(self, reply: Reply) -> list[tuple[str, float]]:
        if is_missing(reply):
            self._generations.missing()
            return []
        if is_not_loaded(reply):
            self._generations.mend()
            raise SearchUnavailable
        return found_in(checked(reply))
