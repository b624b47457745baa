"""The operators' endpoints, and routes for them below /cache. These routes need the admin token.

For each action, the log shows the kind of the action and how many entries it concerned. The log
never shows a caller or the text of an entry.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict
from typing import NamedTuple

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from app.api.admin.documents import asked, document_of, listed, refuse_unknown, selector_in
from app.api.admin.purge import PurgeEndpoint
from app.api.admin.search import SearchEndpoint
from app.api.admin.stats import StatsEndpoint
from app.api.auth import ApiKeys
from app.core.calibration import Calibration
from app.core.errors import EntryNotFound, InvalidAdminToken, InvalidRequest, RouteNotFound
from app.core.metrics import Metrics
from app.core.models import Clock, StoredResponse
from app.core.selectors import Selector
from app.dialects.strict_json import JsonObject
from app.engine.assembly import Engine

_USUAL_PAGE, _LARGEST_PAGE = 50, 1000
_LIMIT = re.compile("[0-9]{1,4}")
_NOTHING = "No entry is stored under this id."

_logger = logging.getLogger("reprise.admin")


class Operation(NamedTuple):
    """An endpoint for operators, with its HTTP method and its path below a prefix."""

    method: str
    path: str
    endpoint: Callable[..., Awaitable[Response]]


def operations_of(
    engine: Engine,
    metrics: Metrics,
    clock: Clock,
    calibration: Calibration | None = None,
    workers: int = 1,
) -> list[Operation]:
    """Return the operators' endpoints, except those that need to know the dialects.

    `calibration` is the verifier's calibration; None if there is no verifier. `workers` is the
    number of worker processes.
    """
    admin = _Admin(engine, clock)
    stats = StatsEndpoint(engine, metrics, calibration, workers)
    return [
        Operation("GET", "/stats", stats.__call__),
        Operation("GET", "/report", admin.report),
        Operation("GET", "/review", admin.review),
        Operation("GET", "/entries", admin.entries),
        Operation("GET", "/entries/{digest}", admin.entry),
        Operation("DELETE", "/entries/{digest}", admin.delete),
        Operation("POST", "/search", SearchEndpoint(engine, clock).__call__),
        Operation("POST", "/feedback", admin.feedback),
        Operation("POST", "/pin", admin.pin),
        Operation("POST", "/purge", PurgeEndpoint(engine.operations, clock).__call__),
    ]


def router_of(
    prefix: str, operations: Iterable[Operation], check: Callable[[Request], None]
) -> APIRouter:
    """Return a router with a route below `prefix` for each of `operations`.

    `check` is called with each request. `check` raises a Refusal if the request may not use these
    routes.
    """
    router = APIRouter(prefix=prefix, dependencies=[Depends(check)])
    for method, path, endpoint in operations:
        router.add_api_route(path, endpoint, methods=[method])
    return router


def admin_routes(operations: Iterable[Operation], token: str) -> APIRouter:
    """Return the routes below `/cache`, which require `token`.

    If `token` is empty, each of these routes returns 404.
    """
    api_keys = ApiKeys([token] if token else [])

    def check(request: Request) -> None:
        if not api_keys:
            raise RouteNotFound("The admin routes are off, because REPRISE_ADMIN_TOKEN is not set.")
        if not api_keys.knows(request.scope["headers"]):
            raise InvalidAdminToken("Incorrect admin token provided.")

    return router_of("/cache", operations, check)


class _Admin:
    """The operators' endpoints for reports and for single entries."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._cache = engine.lookup
        self._curator = engine.operations
        self._report = engine.report
        self._pairs = engine.pairs
        self._clock = clock

    async def report(self) -> JSONResponse:
        """Return a report on the hits of served traffic and of shadow mode.

        Shadow mode serves no hits; it only counts the hits that it would have served. In the
        answer, `pairs` lists the wrong hits with the smallest distances.
        """
        await self._cache.refresh_epoch()
        document = await self._report.document()
        _logger.info("sent a report with %d pairs of questions", len(document["pairs"]))
        return JSONResponse(document)

    async def review(self) -> JSONResponse:
        """Return pairs of questions for an operator to judge.

        In the answer, `pairs` lists the pairs for which the verifier was least certain. `open`
        lists hits by meaning that were compared with the upstream's answer without a clear result.
        """
        await self._cache.refresh_epoch()
        hits = self._pairs.open()
        known = {(pair.entry, pair.asked) for pair in hits}
        doubts = [d for d in self._cache.doubts.all() if (d.entry, d.asked) not in known]
        _logger.info("showed %d pairs to be reviewed", len(hits) + len(doubts))
        return JSONResponse(
            {
                "open": [asdict(pair) for pair in hits],
                "pairs": [asdict(doubt) for doubt in doubts],
            }
        )

    async def entries(self, request: Request) -> JSONResponse:
        """Return a page of stored entries, and the cursor of the next page."""
        page = await asked(self._curator.entries(*_page(request.query_params)))
        shown = [self._listed(stored) for stored in page.entries]
        _logger.info("listed %d entries", len(shown))
        return JSONResponse({"entries": shown, "cursor": page.cursor or None})

    async def entry(self, digest: str) -> JSONResponse:
        """Return one stored response, including its question and its answer."""
        stored = await asked(self._curator.entry(digest))
        if stored is None:
            raise EntryNotFound(_NOTHING)
        _logger.info("showed 1 entry")
        hits, wordings = self._cache.hits.of(stored), self._cache.wordings.of(stored)
        more = {
            "exact_hits": hits.exact,
            "distances": hits.distances,
            "answered": [asdict(wording) for wording in wordings],
            "response": json.loads(stored.content),
        }
        return JSONResponse(self._listed(stored) | more)

    async def delete(self, digest: str) -> JSONResponse:
        """Remove one stored response."""
        if not await asked(self._curator.delete(digest)):
            raise EntryNotFound(_NOTHING)
        _logger.info("deleted 1 entry")
        return JSONResponse({"deleted": 1})

    async def feedback(self, request: Request) -> JSONResponse:
        """Apply a report that an answer was right or wrong.

        Return the entry's new standing: "trusted", "exact_only" or "removed".
        """
        document = await document_of(request)
        refuse_unknown(document, "id", "correct")
        digest, correct = document.get("id"), document.get("correct")
        if not isinstance(digest, str) or not isinstance(correct, bool):
            raise InvalidRequest('The body must be {"id": "…", "correct": true or false}.')
        standing = await asked(self._curator.feedback(digest, correct=correct))
        if standing is None:
            raise EntryNotFound(_NOTHING)
        _logger.info(
            "1 entry was reported as %s; its standing is now: %s",
            "right" if correct else "wrong",
            standing,
        )
        return JSONResponse({"id": digest, "standing": standing.value})

    async def pin(self, request: Request) -> JSONResponse:
        """Pin or unpin an entry.

        A pinned entry may be served by meaning, even if few callers have asked the entry's
        question.
        """
        document = await document_of(request)
        refuse_unknown(document, "id", "pinned")
        digest, pinned = document.get("id"), document.get("pinned", True)
        if not isinstance(digest, str) or not isinstance(pinned, bool):
            raise InvalidRequest('The body must be {"id": "…"}, with "pinned": false to unpin.')
        if not await asked(self._curator.pin(digest, pinned=pinned)):
            raise EntryNotFound(_NOTHING)
        _logger.info("%s 1 entry", "pinned" if pinned else "unpinned")
        return JSONResponse({"id": digest, "pinned": pinned})

    def _listed(self, stored: StoredResponse) -> JsonObject:
        return listed(stored, self._clock()) | {"hits": self._cache.hits.of(stored).count}


def _page(query: Mapping[str, str]) -> tuple[str, int, Selector]:
    selector = selector_in(query, "limit", "cursor")
    limit = query.get("limit", str(_USUAL_PAGE))
    if not _LIMIT.fullmatch(limit) or not 1 <= int(limit) <= _LARGEST_PAGE:
        raise InvalidRequest(f"limit must be a whole number from 1 to {_LARGEST_PAGE}.")
    return query.get("cursor", ""), int(limit), selector
