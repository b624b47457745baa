"""What an operator may ask and do: /cache/*, behind a token.

Every act is logged: what and how many, never of whom or about what.
"""

import json
import logging
import re
import time
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from app import __version__
from app.cache import SemanticCache
from app.errors import (
    EntryNotFound,
    InvalidAdminToken,
    InvalidRequest,
    NotUnderstood,
    PartUnavailable,
    RouteNotFound,
    StoreUnavailable,
)
from app.keyring import Keyring
from app.metrics import Metrics
from app.models import Clock, Kind, Outcome, StoredResponse
from app.openai import JsonObject, load_json

T = TypeVar("T")

_USUAL_PAGE, _LARGEST_PAGE = 50, 1000
_MOST_BODY = 65_536
_LIMIT = re.compile("[0-9]{1,4}")

_logger = logging.getLogger("reprise.admin")


def admin_routes(cache: SemanticCache, metrics: Metrics, clock: Clock, token: str) -> APIRouter:
    """Make the routes of operators. Without a token there are none."""
    keyring = Keyring([token] if token else [])

    def check(request: Request) -> None:
        if not keyring:
            raise RouteNotFound("The admin routes need REPRISE_ADMIN_TOKEN.")
        if not keyring.knows(request.scope["headers"]):
            raise InvalidAdminToken("Incorrect admin token provided.")

    admin = _Admin(cache, metrics, clock)
    router = APIRouter(prefix="/cache", dependencies=[Depends(check)])
    router.add_api_route("/stats", admin.stats, methods=["GET"])
    router.add_api_route("/entries", admin.entries, methods=["GET"])
    router.add_api_route("/entries/{digest}", admin.entry, methods=["GET"])
    router.add_api_route("/entries/{digest}", admin.delete, methods=["DELETE"])
    router.add_api_route("/purge", admin.purge, methods=["POST"])
    return router


class _Admin:
    """The endpoints."""

    def __init__(self, cache: SemanticCache, metrics: Metrics, clock: Clock) -> None:
        self._cache = cache
        self._metrics = metrics
        self._clock = clock
        self._started = time.monotonic()

    async def stats(self) -> JSONResponse:
        """Say what is stored and what became of the requests so far."""
        counts = await self._cache.count()
        return JSONResponse(
            {
                "version": __version__,
                "uptime": round(time.monotonic() - self._started),
                "entries": counts
                and {
                    Kind.CHAT_COMPLETION.value: counts.chat_completions,
                    Kind.EMBEDDING.value: counts.embeddings,
                },
                "requests": _outcomes(self._metrics),
                "embedder": self._cache.embedder,
                "store": await self._cache.facts(),
                "degraded": await self._cache.degraded(),
            }
        )

    async def entries(self, request: Request) -> JSONResponse:
        """List what is stored, page by page."""
        page = await _asked(self._cache.entries(*_page(request.query_params)))
        listed = [_listed(stored, self._clock()) for stored in page.entries]
        return JSONResponse({"entries": listed, "cursor": page.cursor or None})

    async def entry(self, digest: str) -> JSONResponse:
        """Show one stored response, its question and answer included."""
        stored = await _asked(self._cache.entry(digest))
        if stored is None:
            raise EntryNotFound("Nothing is stored under this id.")
        answer = {"completion": json.loads(stored.completion)}
        return JSONResponse(_listed(stored, self._clock()) | answer)

    async def delete(self, digest: str) -> JSONResponse:
        """Remove one stored response."""
        if not await _asked(self._cache.delete(digest)):
            raise EntryNotFound("Nothing is stored under this id.")
        _logger.info("deleted 1 entry")
        return JSONResponse({"deleted": 1})

    async def purge(self, request: Request) -> JSONResponse:
        """Remove everything, or say how much that would be."""
        dry_run = _dry_run(await _document(request))
        purged = await _asked(self._cache.size() if dry_run else self._cache.purge())
        if not dry_run:
            _logger.info("purged all: %d entries", purged)
        return JSONResponse({"purged": purged, "dry_run": dry_run})


async def _asked(work: Awaitable[T]) -> T:
    """Ask the store something for an operator, who is told if it fails."""
    try:
        return await work
    except PartUnavailable as unavailable:
        raise StoreUnavailable("The store did not do it; the log says why.") from unavailable


def _outcomes(metrics: Metrics) -> dict[str, int]:
    """Add up the cached routes' requests by outcome."""
    outcomes = dict.fromkeys([outcome.value for outcome in Outcome], 0)
    for family in metrics.requests.collect():
        for sample in family.samples:
            outcome = sample.labels.get("outcome")
            if sample.name.endswith("_total") and outcome in outcomes:
                outcomes[outcome] += int(sample.value)
    return outcomes


def _listed(stored: StoredResponse, now: float) -> JsonObject:
    return {
        "id": stored.id,
        "model": stored.model,
        "prompt": stored.key.text,
        "stored_at": stored.stored_at,
        "age": int(stored.age(now)),
        "ttl": int(stored.ttl(now)),
        "bytes": len(stored.completion),
    }


def _page(query: Mapping[str, str]) -> tuple[str, int, str | None]:
    if unknown := set(query) - {"limit", "cursor", "model"}:
        raise InvalidRequest(f"{', '.join(sorted(unknown))}: limit, cursor and model are known.")
    limit = query.get("limit", str(_USUAL_PAGE))
    if not _LIMIT.fullmatch(limit) or not 1 <= int(limit) <= _LARGEST_PAGE:
        raise InvalidRequest(f"limit must be a whole number from 1 to {_LARGEST_PAGE}.")
    return query.get("cursor", ""), int(limit), query.get("model")


async def _document(request: Request) -> Any:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BODY:
            raise InvalidRequest("The body is too long.")
    try:
        return load_json(body)
    except NotUnderstood as unknown:
        raise InvalidRequest("The body is not JSON.") from unknown


def _dry_run(document: Any) -> bool:
    known = {"all", "dry_run"}
    if not isinstance(document, dict) or document.get("all") is not True or set(document) - known:
        raise InvalidRequest('The body must be {"all": true}, with "dry_run" if you like.')
    dry_run = document.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise InvalidRequest("dry_run must be true or false.")
    return dry_run
