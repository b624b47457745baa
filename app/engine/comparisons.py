"""Compares answers held back in shadow mode with the upstream's answers, in the background."""

import asyncio

from app.core.defects import log_defect
from app.core.metrics import Metrics
from app.core.offload import by_size
from app.dialects.said import said_in
from app.engine.flights import see_out
from app.matching.comparison import Agreement, compare
from app.rules.decisions import Serve

_MOST = 16  # running comparisons; no more are started, so that they delay no answer
_TIMES = 50  # comparing takes about this many times as long as parsing


class Comparisons:
    """Compares answers that would have been served with the upstream's; counts results by tier."""

    def __init__(self, metrics: Metrics) -> None:
        self._compared = metrics.compared
        self._under_way = set[asyncio.Task[None]]()

    def begin(self, kept_back: Serve, answer: bytes) -> None:
        """Start to compare a held-back answer, unless it is stale, with a new one; do not wait."""
        if kept_back.is_stale or len(self._under_way) >= _MOST:
            return
        task = asyncio.create_task(self._compare(kept_back, answer))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _compare(self, kept_back: Serve, answer: bytes) -> None:
        stored, tier = kept_back.stored.content, kept_back.status.tier

        def agreement() -> Agreement:
            return compare(said_in(stored), said_in(answer))

        try:
            found = await by_size(_TIMES * (len(stored) + len(answer)), agreement)
        except Exception as error:  # noqa: BLE001 - no caller awaits this task
            log_defect(error)
        else:
            self._compared.labels(tier.value if tier else "", found.value).inc()

    async def aclose(self) -> None:
        """Wait for running comparisons, for a limited time."""
        await see_out(list(self._under_way))
