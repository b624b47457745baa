"""GET /cache/stats: numbers of entries, outcomes of requests, durations of requests."""

import time

from fastapi.responses import JSONResponse

from app import __version__
from app.core.cache_status import Outcome, Tier
from app.core.calibration import Calibration
from app.core.metrics import Metrics, counts
from app.engine.assembly import Engine


class StatsEndpoint:
    """Reports all figures of a running proxy. `workers` is the number of the proxy's processes."""

    def __init__(
        self, engine: Engine, metrics: Metrics, calibration: Calibration | None, workers: int
    ) -> None:
        self._cache = engine.lookup
        self._findings = engine.findings
        self._report = engine.report
        self._metrics = metrics
        self._dials = calibration.thresholds if calibration else ()
        self._workers = workers
        self._started = time.monotonic()

    async def __call__(self) -> JSONResponse:
        """Return the numbers of entries by kind and of requests by outcome, and other figures."""
        stored = await self._cache.count()
        known = list(self._metrics.counters())
        told = counts(known, "reprise_requests", "outcome")
        hits = counts(known, "reprise_requests", "tier", outcome=Outcome.HIT.value)
        return JSONResponse(
            {
                "version": __version__,
                "uptime": round(time.monotonic() - self._started),
                "workers": self._workers,
                "counted_in": "workers" if self._metrics.is_common else "process",
                "entries": stored and dict(stored.by_kind),
                "requests": {o.value: told.get(o.value, 0) for o in Outcome},
                "hits": {t.value: hits.get(t.value, 0) for t in Tier},
                "latency_ms": self._metrics.latencies.percentiles(),
                "failures": counts(known, "reprise_failures", "part"),
                **await self._findings.document(),
                "in_force": self._report.in_force() | {"dials": self._dials},
                "embedder": self._cache.embedder,
                "store": await self._cache.facts(),
                "degraded": await self._cache.degraded(),
            }
        )
