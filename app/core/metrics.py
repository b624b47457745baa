"""The Prometheus metrics. docs/operations.md lists them.

The comment above each metric says when the metric is updated.
"""

import os
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import partial
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.openmetrics import exposition as openmetrics

from app.core.latencies import Latencies
from app.core.tally import Tally

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder in which processes keep their counts.

The variable must be set before a process starts.
https://prometheus.github.io/client_python/multiprocess/
"""

trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace id of the request in progress, in hexadecimal; empty if tracing is off."""

_OPENMETRICS = "application/openmetrics-text"
_FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0)


class _Seconds(Histogram):
    """A histogram of durations. Each exemplar names the trace of the request that was measured.

    Exemplars: https://prometheus.io/docs/specs/om/open_metrics_spec/#exemplars. The library
    prometheus_client keeps no exemplars if metrics are sums over several processes.
    """

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Record a duration of `amount` seconds.

        If `exemplar` is None, the exemplar is the trace id of the request in progress. If this id
        is empty, there is no exemplar.
        """
        if exemplar is None and (trace := trace_id.get()):
            exemplar = {"trace_id": trace}
        super().observe(amount, exemplar)


class Metrics:
    """The metrics of one proxy.

    If the proxy has several processes, the Prometheus metrics are sums over all processes. Each
    process must then create only one Metrics object, because two objects would overwrite each
    other's counts.

    `registry` holds the Prometheus metrics. `tally` holds sums that are also stored, so that they
    outlive the process. `latencies` holds the durations of this process's latest requests.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.tally = Tally()
        self.latencies = Latencies()
        counter = partial(Counter, registry=self.registry)
        self._folder = os.environ.get(FOLDER)
        self._inflight_now: Callable[[], int] = int
        ProcessCollector(registry=self.registry)
        self._measure_times(partial(_Seconds, registry=self.registry))
        self._count_what_is_stored(counter)
        self._count_what_is_kept_back(counter)
        self._count_audits(counter)
        self._count_savings(counter)
        # When a request has ended: answered, cut short or abandoned by its client.
        self.requests = counter(
            "reprise_requests",
            "Requests, by route, outcome and (for hits) tier.",
            ["route", "outcome", "tier"],
        )
        # When a request has joined an identical one that is already at the upstream.
        self.collapsed = counter(
            "reprise_collapsed_requests",
            "Requests that shared the upstream's answer to an identical request.",
        )

    def _count_what_is_stored(self, counter: Callable[..., Counter]) -> None:
        # When a guard or the verifier has refused a candidate.
        self.refusals = counter("reprise_refusals", "Candidates refused, by guard.", ["guard"])
        # When the store has accepted an answer.
        self.stored = counter("reprise_stored", "Answers stored, by kind.", ["kind"])
        # When an answer was complete but not fit to be stored.
        self.not_stored = counter(
            "reprise_not_stored", "Complete answers that were not stored, by reason.", ["reason"]
        )
        # When the store has removed an entry: it expired, or it was the least recently used.
        self.evictions = counter(
            "reprise_evictions",
            "Entries that the store removed by itself, by kind and reason.",
            ["kind", "reason"],
        )
        # When an entry read from the store was altered or forged. It is not served.
        self.broken = counter(
            "reprise_broken_entries",
            "Entries in the store that were altered or forged; they are not served.",
        )
        # When a call to a dependency raised or timed out, or the upstream could not answer.
        self.failures = counter(
            "reprise_failures",
            "Failed calls to the upstream, store, embedder or verifier, by part.",
            ["part"],
        )
        # When the metrics are read; with several processes, also when a request has ended.
        self.inflight = Gauge(
            "reprise_inflight_bytes",
            "Bytes of bodies and replays that are held at the moment.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        # When the metrics are read.
        self.entries = Gauge(
            "reprise_entries",
            "Entries in the store, by kind.",
            ["kind"],
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )

    def _measure_times(self, histogram: Callable[..., Histogram]) -> None:
        # When a look-up in the store has returned or failed.
        self.lookup_seconds = histogram(
            "reprise_lookup_seconds",
            "Seconds that a look-up in the store took, by tier.",
            ["tier"],
            buckets=_FAST,
        )
        # When the embedder has returned or failed.
        self.embedding_seconds = histogram(
            "reprise_embedding_seconds", "Seconds that embedding a text took.", buckets=_FAST
        )
        # When the verifier has returned or failed. Results that it remembers are not counted.
        self.verification_seconds = histogram(
            "reprise_verification_seconds",
            "Seconds that verifying the candidates of a question took.",
            buckets=_FAST,
        )
        # When the head of the upstream's response has arrived or the attempt has failed.
        self.upstream_seconds = histogram(
            "reprise_upstream_seconds",
            "Seconds from forwarding a request to the head of its answer.",
            buckets=_SLOW,
        )

    def _count_what_is_kept_back(self, counter: Callable[..., Counter]) -> None:
        # When a request has ended for which a stored answer was found but held back (shadow mode).
        self.shadow = counter(
            "reprise_shadow",
            "Requests sent to the upstream while REPRISE_MODE holds hits back, by the outcome that "
            "they would have had, and tier.",
            ["outcome", "tier"],
        )
        # When an answer that was held back has been compared with the upstream's answer.
        self.compared = counter(
            "reprise_compared",
            "Hits held back and compared with the upstream's answer, by tier and agreement.",
            ["tier", "agreement"],
        )

    def _count_audits(self, counter: Callable[..., Counter]) -> None:
        # When a served hit has been compared with the upstream's answer.
        self.audited = counter(
            "reprise_audited",
            "Served hits compared with the upstream's answer, by tier, distance and agreement.",
            ["tier", "distance", "agreement"],
        )
        # When a hit was drawn to be audited but could not be.
        self.not_audited = counter(
            "reprise_not_audited",
            "Hits that were chosen for an audit but not audited, by reason.",
            ["reason"],
        )
        # When a hit was audited.
        self.audit_wrong = Gauge(
            "reprise_audit_wrong",
            "Share of audited hits found wrong, with its 95 % confidence interval, by tier.",
            ["tier", "bound"],
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        # When audits have made hits by meaning stricter, or less strict again.
        self.caution = Gauge(
            "reprise_caution",
            "How much stricter hits by meaning are than the settings say: from 0 (no stricter) "
            "to 3 (only exact matches are served).",
            registry=self.registry,
            multiprocess_mode="livemax",
        )

    def _count_savings(self, counter: Callable[..., Counter]) -> None:
        # When a hit was served whose usage, price or time is known.
        self.saved_tokens = counter(
            "reprise_saved_tokens", "Tokens that hits saved, by model and kind.", ["model", "kind"]
        )
        self.saved_dollars = counter(
            "reprise_saved_dollars", "Dollars that hits saved, by model.", ["model"]
        )
        self.saved_seconds = counter(
            "reprise_saved_seconds",
            "Seconds of the upstream's time that hits saved, by model.",
            ["model"],
        )
        # When a text was embedded by a remote embedder, or a hit audited.
        self.spent_tokens = counter(
            "reprise_spent_tokens",
            "Tokens spent on embeddings and audits, by purpose and model.",
            ["purpose", "model"],
        )
        self.spent_dollars = counter(
            "reprise_spent_dollars",
            "Dollars spent on embeddings and audits, by purpose and model.",
            ["purpose", "model"],
        )

    def follow_inflight(self, now: Callable[[], int]) -> None:
        """Set the function that returns how many bytes this process holds at the moment."""
        self._inflight_now = now
        if not self._folder:
            self.inflight.set_function(now)

    def note_inflight(self) -> None:
        """Record how many bytes this process holds at the moment.

        If there are several processes, the number is kept in a shared folder, so that each process
        can report the sum of all processes. If there is only one, this method does nothing.
        """
        if self._folder:
            self.inflight.set(self._inflight_now())

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return all metrics in a text format, and the content type of that format.

        `accept` is the value of the request's `Accept` header. If this value names OpenMetrics, the
        format is OpenMetrics, which has exemplars. Otherwise the format is Prometheus's text
        format.
        """
        self.note_inflight()
        registry = self.registry
        if self._folder:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, self._folder)
        if _OPENMETRICS in accept:
            return openmetrics.generate_latest(registry), openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(registry), CONTENT_TYPE_LATEST

    @property
    def is_common(self) -> bool:
        """Whether the counters include the counts of other processes."""
        return bool(self._folder)

    def counters(self) -> Iterable[Metric]:
        """Return the counters. The result may contain other metrics too.

        If the proxy has several processes, the values are sums over all processes.
        """
        if not self._folder:
            return self.registry.collect()
        files = map(str, Path(self._folder).glob("counter_*.db"))
        together: Iterable[Metric] = MultiProcessCollector.merge(files)
        return together


def forget_process(pid: int, folder: str) -> None:
    """Remove the gauges of an ended process (`pid`). Sums still include the process's counters.

    `folder` is the folder in which processes keep their counts.
    """
    mark_process_dead(pid, folder)


def counts(counters: Iterable[Metric], name: str, label: str, **fixed: str) -> dict[str, int]:
    """Return the sum of the counter `name` for each value of the label `label`.

    `fixed` gives values of other labels. Only samples with these values are included.
    """
    sums: dict[str, int] = {}
    for sample in (sample for counter in counters for sample in counter.samples):
        if sample.name == f"{name}_total" and fixed.items() <= sample.labels.items():
            value = sample.labels[label]
            sums[value] = sums.get(value, 0) + int(sample.value)
    return sums
