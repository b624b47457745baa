"""Searches the stored responses for an operator.

Stores have no search of this kind. So a search lists the entries and looks at one after another. A
search stops after a limited number of entries or a limited time.
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
"""The rank of an entry. Entries with higher ranks are listed first."""


class By(StrEnum):
    """The kinds of searches: which entries are found, and in which order they are listed."""

    NEWEST = "newest"
    MOST_USED = "most-used"  # in this process; without entries that have not answered
    DISPUTED = "disputed"  # the newest of the entries that were reported as wrong
    TEXT = "text"  # the newest of the entries whose question contains the text, in any case
    MEANING = "meaning"  # the entries at the smallest distances


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that was found.

    `rank`: hits with higher ranks are listed first.
    `distance`: the cosine distance from the text of the search. Only a search by meaning sets it;
    otherwise, it is None.
    """

    stored: StoredResponse
    rank: Rank
    distance: float | None = None


@dataclass(slots=True)
class Result:
    """The result of a search.

    `searched`: the number of entries that the search has looked at.
    `searched_all`: whether the search has looked at all entries.
    """

    hits: Sequence[Hit] = ()
    searched: int = 0
    searched_all: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """The terms of a search.

    `limit` is the greatest number of entries to return. The search looks only at entries that
    `selector` selects. `text` is used only with `By.TEXT`, and `near` only with `By.MEANING`.
    """

    by: By
    limit: int
    selector: Selector
    text: str = field(default="", repr=False)
    near: Near | None = None


class Search:
    """Runs searches among all entries."""

    def __init__(self, operations: Operations, counts: HitCounts) -> None:
        self._operations = operations
        self._counts = counts

    async def run(self, query: Query) -> Result:
        """Run a search and return its result, which is incomplete if a limit was reached.

        Raises DependencyUnavailable if the store fails.
        """
        result = Result()
        try:
            async with asyncio.timeout(_SECONDS):
                await self._look(query, result)
        except TimeoutError:
            pass  # the result so far is returned, and says that it is incomplete
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
    """Return a Hit for each entry for which `fits` returns True. The newest has the top rank."""
    size = sum(len(e.key.text or "") for e in entries)
    return await by_size(size, lambda: [Hit(e, (e.stored_at, 0.0)) for e in entries if fits(e)])
