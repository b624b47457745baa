"""The operators' routes below /cache, which need a token.

Every action is logged with its kind and the number of entries, never with callers or content.
"""

import json
import logging
import re
import time
from collections.abc import Mapping

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from app import __version__
from app.api.admin.documents import asked, document_of, listed, refuse_unknown, selector_in
from app.api.admin.purge import PurgeEndpoint
from app.api.auth import ApiKeys
from app.core.cache_status import Outcome
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


def admin_routes(engine: Engine, metrics: Metrics, clock: Clock, token: str) -> APIRouter:
    """Return the operators' routes, except those that need dialects. Without `token`: all 404."""
    api_keys = ApiKeys([token] if token else [])

    def check(request: Request) -> None:
        if not api_keys:
            raise RouteNotFound("The admin routes are off, because REPRISE_ADMIN_TOKEN is not set.")
        if not api_keys.knows(request.scope["headers"]):
            raise InvalidAdminToken("Incorrect admin token provided.")

    admin = _Admin(engine, metrics, clock)
    router = APIRouter(prefix="/cache", dependencies=[Depends(check)])
    router.add_api_route("/stats", admin.stats, methods=["GET"])
    router.add_api_route("/report", admin.report, methods=["GET"])
    router.add_api_route("/entries", admin.entries, methods=["GET"])
    router.add_api_route("/entries/{digest}", admin.entry, methods=["GET"])
    router.add_api_route("/entries/{digest}", admin.delete, methods=["DELETE"])
    router.add_api_route("/feedback", admin.feedback, methods=["POST"])
    router.add_api_route("/pin", admin.pin, methods=["POST"])
    router.add_api_route(
        "/purge", PurgeEndpoint(engine.operations, clock).__call__, methods=["POST"]
    )
    return router


class _Admin:
    """The endpoints."""

    def __init__(self, engine: Engine, metrics: Metrics, clock: Clock) -> None:
        self._cache = engine.lookup
        self._curator = engine.operations
        self._findings = engine.findings
        self._report = engine.report
        self._metrics = metrics
        self._clock = clock
        self._started = time.monotonic()

    async def stats(self) -> JSONResponse:
        """Return counts of stored entries and of requests by outcome, and facts about the proxy."""
        counts = await self._cache.count()
        return JSONResponse(
            {
                "version": __version__,
                "uptime": round(time.monotonic() - self._started),
                "entries": counts and dict(counts.by_kind),
                "requests": _outcomes(self._metrics),
                **await self._findings.document(),
                "embedder": self._cache.embedder,
                "store": await self._cache.facts(),
                "degraded": await self._cache.degraded(),
            }
        )

    async def report(self) -> JSONResponse:
        """Return the results of shadow mode or of traffic, with the most instructive wrong hits."""
        document = await self._report.document()
        _logger.info("sent a report with %d pairs of questions", len(document["pairs"]))
        return JSONResponse(document)

    async def entries(self, request: Request) -> JSONResponse:
        """Return a page of stored entries."""
        page = await asked(self._curator.entries(*_page(request.query_params)))
        shown = [self._listed(stored) for stored in page.entries]
        _logger.info("listed %d entries", len(shown))
        return JSONResponse({"entries": shown, "cursor": page.cursor or None})

    async def entry(self, digest: str) -> JSONResponse:
        """Return one stored response with its question and answer."""
        stored = await asked(self._curator.entry(digest))
        if stored is None:
            raise EntryNotFound(_NOTHING)
        _logger.info("showed 1 entry")
        distances = self._cache.hits.of(stored).distances
        answer = {"distances": distances, "response": json.loads(stored.content)}
        return JSONResponse(self._listed(stored) | answer)

    async def delete(self, digest: str) -> JSONResponse:
        """Remove one stored response."""
        if not await asked(self._curator.delete(digest)):
            raise EntryNotFound(_NOTHING)
        _logger.info("deleted 1 entry")
        return JSONResponse({"deleted": 1})

    async def feedback(self, request: Request) -> JSONResponse:
        """Apply a report that an answer was right or wrong."""
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
        """Pin an entry, so that it may be served by meaning however few have asked; or unpin it."""
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


def _outcomes(metrics: Metrics) -> dict[str, int]:
    """Return the number of requests to cached routes for each outcome."""
    outcomes = dict.fromkeys([outcome.value for outcome in Outcome], 0)
    for family in metrics.requests.collect():
        for sample in family.samples:
            outcome = sample.labels.get("outcome")
            if sample.name.endswith("_total") and outcome in outcomes:
                outcomes[outcome] += int(sample.value)
    return outcomes


def _page(query: Mapping[str, str]) -> tuple[str, int, Selector]:
    selector = selector_in(query, "limit", "cursor")
    limit = query.get("limit", str(_USUAL_PAGE))
    if not _LIMIT.fullmatch(limit) or not 1 <= int(limit) <= _LARGEST_PAGE:
        raise InvalidRequest(f"limit must be a whole number from 1 to {_LARGEST_PAGE}.")
    return query.get("cursor", ""), int(limit), selector
