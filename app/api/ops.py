"""Health, readiness and metrics."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from app.core.metrics import Metrics
from app.engine.lookup import Lookup


def ops_routes(cache: Lookup, metrics: Metrics) -> APIRouter:
    """Return the routes for health, readiness and metrics."""
    router = APIRouter()
    known = set[str]()

    @router.api_route("/healthz", methods=["GET", "HEAD"])
    async def healthz() -> dict[str, str]:
        """Report that the process is running."""
        return {"status": "ok"}

    @router.api_route("/readyz", methods=["GET", "HEAD"])
    async def readyz(request: Request) -> JSONResponse:
        """Report whether the proxy accepts requests, and which parts of the cache are down."""
        if not request.app.state.ready:
            return JSONResponse({"status": "unavailable"}, status_code=503)
        return JSONResponse({"status": "ok", "degraded": await cache.degraded()})

    @router.api_route("/metrics", methods=["GET", "HEAD"])
    async def exposition(request: Request) -> Response:
        """Return all metrics.

        The format is OpenMetrics if the client accepts that, otherwise the format of Prometheus.
        """
        if (counts := await cache.count()) is not None:
            for kind in known - set(counts.by_kind):
                metrics.entries.labels(kind).set(0)  # for the processes that still tell of it
            known.update(counts.by_kind)
            metrics.entries.clear()  # removes dialects that have no entries any more
            for kind, count in counts.by_kind.items():
                metrics.entries.labels(kind).set(count)
        content, media_type = metrics.exposition(request.headers.get("accept", ""))
        return Response(content, media_type=media_type)

    return router
