"""Reports for operators on the contents of a Valkey server: pages of entries, counts, facts.

Each call looks at a limited number of keys.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from app.core.callers import is_named
from app.core.models import Counts, Page, StoredResponse
from app.core.selectors import EVERYTHING, Selector
from app.stores.valkey.client import Command, Server, checked
from app.stores.valkey.entries import (
    Reader,
    is_chosen,
    read_choice,
    read_embedding,
    read_life,
    read_response,
)
from app.stores.valkey.generations import Generations
from app.stores.valkey.keys import ALL_EMBEDDINGS, embedding_digest, embedding_key, is_embedding
from app.stores.valkey.search import documents_in, names_in

_EXACT = 500  # keys; up to this many entries are counted exactly


class Survey:
    """Reads entries without changing anything."""

    def __init__(
        self, connections: Server, generations: Generations, reader: Callable[[], Reader]
    ) -> None:
        self._connections = connections
        self._generations = generations
        self._keys = generations.keys
        self._reader = reader

    async def scan(self, cursor: str, limit: int, selector: Selector) -> Page:
        """Read the next `limit` responses. Return those that `selector` selects.

        A cursor is `place:key`: `place` is a cursor of the command SCAN, and `key` is the last key
        that was read at this place. If the cursor is invalid, the page is empty, and it
        is the last one.
        """
        place, _, last = (cursor or "0:").partition(":")
        if not place.isascii() or not place.isdecimal():
            return Page([], "")
        await self._generations.known()
        scanned, *state = await self._connections.call(
            ("SCAN", place, "MATCH", self._keys.entries, "COUNT", max(limit, _EXACT)),
            *self._generations.state,
        )
        self._generations.note(*state)
        following, found = checked(scanned)
        alive = set(self._generations.numbers)
        keys = sorted(
            key
            for raw in found
            if (key := raw.decode(errors="replace")) > last
            and self._keys.generation_in(key) in alive
        )
        page, is_whole = keys[:limit], len(keys) <= limit
        entries = await self._read(page, selector)
        if is_whole:
            return Page(entries, "" if following == b"0" else f"{following.decode()}:")
        return Page(entries, f"{place}:{page[-1]}")

    async def scan_embeddings(self, cursor: str, limit: int, caller: str) -> tuple[list[str], str]:
        """Look at about the next `limit` embeddings.

        Return the exact keys of the embeddings that were fetched for `caller`, and the next cursor.
        A cursor is a number made by the command SCAN. The cursor is empty before the first
        embedding and after the last.
        """
        place = cursor or "0"
        if not place.isascii() or not place.isdecimal():
            return [], ""
        (scanned,) = await self._connections.call(
            ("SCAN", place, "MATCH", ALL_EMBEDDINGS, "COUNT", max(limit, _EXACT))
        )
        following, raw_keys = checked(scanned)
        digests = [embedding_digest(raw.decode(errors="replace")) for raw in raw_keys]
        commands = [read_embedding(embedding_key(digest)) for digest in digests]
        replies = await self._connections.call(*commands) if commands else []
        reader = self._reader()
        found = [
            digest
            for digest, raw in zip(digests, replies, strict=True)
            if (stored := reader.embedding(digest, raw)) and is_named(stored.caller, caller)
        ]
        return found, "" if following == b"0" else following.decode()

    async def _read(self, keys: Sequence[str], selector: Selector) -> list[StoredResponse]:
        if selector != EVERYTHING:
            told = await self._connections.call(*(read_choice(key, selector) for key in keys))
            size = self._generations.dimensions
            choices = zip(keys, told, strict=True)
            keys = [key for key, values in choices if is_chosen(values, selector, size)]
        replies = await self._connections.call(*map(read_response, keys)) if keys else []
        reader = self._reader()
        return [
            stored
            for key, values in zip(keys, replies, strict=True)
            if (stored := reader.response(self._keys.digest_of(key), values)) is not None
        ]

    async def count(self) -> Counts:
        """Return how many entries are alive: exact in a small database, estimated in a larger one.

        The estimate is made from a sample of the keys.
        """
        numbers = await self._generations.known()
        size, scanned, *told = await self._connections.call(
            ("DBSIZE",),
            ("SCAN", 0, "COUNT", _EXACT),
            *self._infos(numbers),
            *self._generations.state,
        )
        *infos, listed, epoch = told
        self._generations.note(listed, epoch)
        following, raw_keys = checked(scanned)
        while following != b"0" and len(raw_keys) < _EXACT:  # the next shard of a cluster
            (scanned,) = await self._connections.call(("SCAN", following, "COUNT", _EXACT))
            following, more = checked(scanned)
            raw_keys += more
        keys = [raw.decode(errors="replace") for raw in raw_keys]
        alive = set(self._generations.numbers)
        entries = [key for key in keys if self._keys.generation_in(key) in alive]
        embeddings = [key for key in keys if is_embedding(key)]
        if following != b"0":
            share = len(embeddings) / max(1, len(keys))
            total = sum(map(documents_in, infos))
            sample = await self._dialects(entries)
            return Counts(total, round(checked(size) * share), _scaled(sample, total))
        reader = self._reader()
        replies = await self._connections.call(*map(read_embedding, embeddings))
        dialects = await self._dialects(entries)
        return Counts(
            dialects.total(),
            sum(
                reader.embedding(embedding_digest(key), raw) is not None
                for key, raw in zip(embeddings, replies, strict=True)
            ),
            dialects,
        )

    async def _dialects(self, keys: Sequence[str]) -> Counter[str]:
        """Count the living responses among those with these keys, by dialect."""
        reader = self._reader()
        replies = await self._connections.call(*map(read_life, keys)) if keys else []
        return Counter(reader.dialect(life) for life in replies if reader.is_alive(life))

    async def facts(self) -> Mapping[str, object]:
        """Return facts about the generations, newest first, and about indexes of other models.

        The keys are `model`, `generations` (each with `number`, `entries` and `inserts`) and
        `other_models` (the names of the other models' indexes).
        """
        numbers = await self._generations.known()
        inserts, names, *infos = await self._connections.call(
            ("HMGET", self._keys.inserts, *numbers), ("FT._LIST",), *self._infos(numbers)
        )
        others = [name for name in names_in(names) if name.startswith("cache:")]
        return {
            "model": self._keys.model,
            "generations": [
                {"number": number, "entries": documents_in(info), "inserts": int(taken or 0)}
                for number, info, taken in zip(numbers, infos, checked(inserts), strict=True)
            ],
            "other_models": sorted(n for n in others if self._keys.generation_of(n) is None),
        }

    def _infos(self, numbers: Sequence[int]) -> list[Command]:
        return [("FT.INFO", self._keys.index(number)) for number in numbers]


def _scaled(sample: Counter[str], total: int) -> Mapping[str, int]:
    """Return the estimated number of entries by dialect: `total`, divided as in `sample`."""
    share = total / max(1, sample.total())
    return {dialect: round(count * share) for dialect, count in sample.items()}
