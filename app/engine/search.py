"""Finds stored responses for an operator, by one of the kinds in `By`.

Stores can only list entries. So a search looks at every entry, up to a limited number and time.
"""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from app.core.models import StoredResponse
from app.core.offload import by_size
from app.core.selectors import Near, Selector
from app.engine.hits import HitCounts
from app.engine.operations import Operations

_PAGE, _PAGES = 250, 400  # page size, and pages that are looked at
_SECONDS = 2.0

Rank = tuple[float, float]
"""The higher, the earlier an entry is shown."""


class By(StrEnum):
    """The kind of a search: which entries it finds, and in which order it lists them."""

    NEWEST = "newest"
    MOST_USED = "most-used"  # in this process; without those that have not answered
    DISPUTED = "disputed"  # the newest of those that were called wrong
    TEXT = "text"  # the newest of those whose question has these characters, in any case
    MEANING = "meaning"  # the nearest


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that was found; `distance` (cosine) is None unless the search was by meaning."""

    stored: StoredResponse
    rank: Rank
    distance: float | None = None


@dataclass(slots=True)
class Result:
    """What was found.

    `searched`: how many entries were looked at. `searched_all`: whether these were all entries.
    """

    hits: Sequence[Hit] = ()
    searched: int = 0
    searched_all: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """What to search for. `text` is used only with `By.TEXT`, `near` only with `By.MEANING`."""

    by: By
    limit: int
    selector: Selector
    text: str = field(default="", repr=False)
    near: Near | None = None


class Search:
    """Searches all entries."""

    def __init__(self, operations: Operations, counts: HitCounts) -> None:
        self._operations = operations
        self._counts = counts

    async def run(self, query: Query) -> Result:
        """Return what was found within the limits. Raises DependencyUnavailable."""
        result = Result()
        try:
            async with asyncio.timeout(_SECONDS):
                await self._look(query, result)
        except TimeoutError:
            pass  # the results so far are shown, and that the search was not complete
        return result

    async def _look(self, query: Query, result: Result) -> None:
        cursor = ""
        for _ in range(_PAGES):
            page = await self._operations.scan(cursor, _PAGE, query.selector)
            found = await self._found(query, page.entries)
            best = [*result.hits, *found]
            result.hits = heapq.nlargest(query.limit, best, key=lambda hit: hit.rank)
            result.searched += len(page.entries)
            if not (cursor := page.cursor):
                result.searched_all = True
                return
            await asyncio.sleep(0)  # a store in memory never yields to the event loop

    async def _found(self, query: Query, entries: Sequence[StoredResponse]) -> Sequence[Hit]:
        match query.by:
            case By.MEANING if query.near is not None:
                distances = await self._operations.distances(query.near, entries)
                pairs = zip(entries, distances, strict=True)
                return [Hit(e, (-far, e.stored_at), far) for e, far in pairs if far is not None]
            case By.TEXT:
                words = query.text.casefold()
                return await _those(entries, lambda e: words in (e.key.text or "").casefold())
            case By.DISPUTED:
                return await _those(entries, lambda e: e.is_disputed)
            case By.MOST_USED:
                counts = ((e, self._counts.of(e).count) for e in entries)
                return [Hit(e, (count, e.stored_at)) for e, count in counts if count]
            case _:
                return await _those(entries, lambda _: True)


async def _those(
    entries: Sequence[StoredResponse], fits: Callable[[StoredResponse], bool]
) -> Sequence[Hit]:
    """Return a hit for each entry for which `fits` is true; newer entries rank higher."""
    size = sum(len(e.key.text or "") for e in entries)
    return await by_size(size, lambda: [Hit(e, (e.stored_at, 0.0)) for e in entries if fits(e)])
