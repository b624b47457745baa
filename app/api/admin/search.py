"""POST /cache/search: lists the newest, most used or disputed entries, or searches for a text."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from app.api.admin.documents import asked, document_of, listed, refuse_unknown
from app.core.errors import InvalidRequest
from app.core.models import Clock
from app.core.selectors import Near, Selector
from app.dialects.strict_json import JsonObject
from app.engine.assembly import Engine
from app.engine.search import By, Hit, Query

_NAMES = ("tag", "model", "namespace")
_USUAL, _MOST = 50, 200  # entries
_FARTHEST = 2.0

_logger = logging.getLogger("reprise.admin")


class SearchEndpoint:
    """Searches the entries.

    The text to search for is in the request's body, so that no URL and no log contains the text.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._search = engine.search
        self._curator = engine.operations
        self._hits = engine.lookup.hits
        self._clock = clock

    async def __call__(self, request: Request) -> JSONResponse:
        """Return the entries that were found, and how many entries were searched.

        The field `by` of the body names the kind of search. The order of the entries depends on
        this kind.
        """
        document = await document_of(request)
        refuse_unknown(document, "by", "text", "limit", *_NAMES)
        result = await asked(self._search.run(await self._query(document)))
        _logger.info("searched %d entries, found %d", result.searched, len(result.hits))
        return JSONResponse(
            {
                "entries": [self._shown(hit) for hit in result.hits],
                "searched": result.searched,
                "searched_all": result.searched_all,
            }
        )

    async def _query(self, document: Mapping[str, Any]) -> Query:
        limit, text = document.get("limit", _USUAL), document.get("text", "")
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MOST:
            raise InvalidRequest(f"limit must be a whole number from 1 to {_MOST}.")
        try:
            by = By(document.get("by", By.NEWEST))
        except ValueError:
            raise InvalidRequest(f"by must be one of {', '.join(By)}.") from None
        if (by in {By.TEXT, By.MEANING}) != ("text" in document) or not isinstance(text, str):
            raise InvalidRequest("text is a text, and goes with by text or by meaning.")
        if any(not isinstance(document.get(name, ""), str) for name in _NAMES):
            raise InvalidRequest(f"{', '.join(_NAMES)} must be texts.")
        selector = Selector(*(document.get(name) for name in _NAMES))
        near = await self._near(text) if by is By.MEANING else None
        return Query(by, limit, selector, text, near)

    async def _near(self, text: str) -> Near:
        near = await asked(self._curator.near(text, _FARTHEST))
        if near is None:
            raise InvalidRequest("The embedding model cannot represent the text.")
        return near

    def _shown(self, hit: Hit) -> JsonObject:
        shown = listed(hit.stored, self._clock()) | {"hits": self._hits.of(hit.stored).count}
        return shown if hit.distance is None else shown | {"distance": round(hit.distance, 4)}
