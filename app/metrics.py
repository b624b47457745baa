"""What is counted, each with the moment it moves. README lists them for operators."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0)


class Metrics:
    """One proxy's metrics, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        # A request is over: answered, cut short or abandoned.
        self.requests = Counter(
            "reprise_requests",
            "Requests, by route, outcome and, for hits, tier.",
            ["route", "outcome", "tier"],
            registry=registry,
        )
        # A request has joined an identical one that is on its way.
        self.collapsed = Counter(
            "reprise_collapsed_requests",
            "Requests that joined an identical one on its way.",
            registry=registry,
        )
        # A look-up in the store has returned or failed.
        self.lookup_seconds = Histogram(
            "reprise_lookup_seconds",
            "Time spent in the store, by tier.",
            ["tier"],
            buckets=_FAST,
            registry=registry,
        )
        # The embedder has returned or failed.
        self.embedding_seconds = Histogram(
            "reprise_embedding_seconds",
            "Time spent embedding a text.",
            buckets=_FAST,
            registry=registry,
        )
        # The upstream's head has arrived or the attempt has failed.
        self.upstream_seconds = Histogram(
            "reprise_upstream_seconds",
            "Time from forwarding a request to the head of its answer.",
            buckets=_SLOW,
            registry=registry,
        )
        # The store has taken an answer.
        self.stored = Counter("reprise_stored", "Answers stored.", registry=registry)
        # An answer was complete and not fit to be stored.
        self.not_stored = Counter(
            "reprise_not_stored", "Answers not stored, by reason.", ["reason"], registry=registry
        )
        # The store has removed a response: its time was up or others were used more recently.
        self.evictions = Counter(
            "reprise_evictions", "Responses removed, by reason.", ["reason"], registry=registry
        )
        # A call to a part of the cache raised or was too slow, or the upstream could not answer.
        self.failures = Counter(
            "reprise_failures", "Failures, by part.", ["part"], registry=registry
        )
        # Asked for when metrics are read.
        self.entries = Gauge("reprise_entries", "Responses in the store.", registry=registry)

    def exposition(self) -> bytes:
        """Write all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
