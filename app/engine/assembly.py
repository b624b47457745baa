"""Creates the parts of the engine and connects them."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from app.core.accounts import Accounts, NoPrices
from app.core.inflight import Inflight
from app.core.metrics import Metrics
from app.core.models import Clock
from app.core.ports import Prices, Upstream
from app.engine.audits import Audits, AuditTerms
from app.engine.context import Context
from app.engine.embeddings import EmbeddingsAnswerer
from app.engine.explain import Explainer
from app.engine.fetcher import Fetcher
from app.engine.findings import Findings
from app.engine.fleet import Fleet
from app.engine.forwarder import Forwarder
from app.engine.handler import Handler
from app.engine.ledger import Ledger
from app.engine.lookup import Lookup
from app.engine.matcher import Matcher
from app.engine.operations import Operations, Seen
from app.engine.pairs import Pairs
from app.engine.report import Report
from app.engine.resilience import ResilientEmbedder
from app.engine.resilient_store import ResilientEmbeddingStore, ResilientStore
from app.engine.savings import Savings
from app.engine.search import Search
from app.engine.serving import Serving
from app.engine.shared_fetch import SharedFetch
from app.rules.plan import Policy

_FARTHEST = 2.0  # no cosine distance is greater


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The dependencies of the engine.

    `inspector`: a second matcher, which explains decisions. It decides like `matcher`, but counts
    no metrics.
    `mark`: see the class `Operations`.
    """

    store: ResilientStore
    embeddings: ResilientEmbeddingStore
    embedder: ResilientEmbedder
    matcher: Matcher
    inspector: Matcher
    upstream: Upstream
    fleet: Fleet
    metrics: Metrics
    clock: Clock
    mark: str = ""
    inflight: Inflight = field(default_factory=Inflight)
    audit: AuditTerms = field(default_factory=AuditTerms)
    prices: Prices = field(default_factory=NoPrices)


class Engine:
    """Holds the parts that answer requests, explain answers, and manage stored entries."""

    def __init__(self, parts: Dependencies, policy: Policy) -> None:
        context = Context(policy, parts.metrics, parts.clock, parts.inflight)
        self._parts = parts
        self.lookup = Lookup(parts.store, parts.embedder, parts.matcher, context)
        self.forwarder = Forwarder(parts.upstream, parts.metrics)
        self.pairs = Pairs(parts.clock, lambda: parts.store.epoch)
        known = self.lookup
        seen = Seen(known.hits, known.wordings, self.pairs, known.doubts)
        self.operations = Operations(parts.store, parts.embedder, policy, seen, parts.mark)
        self.search = Search(self.operations, self.lookup.hits)
        self.ledger = Ledger(parts.store, parts.metrics.tally)
        savings = Savings(Accounts(parts.metrics, parts.prices))
        self.audits = Audits(self.forwarder, self.pairs, savings, context, parts.audit)
        self.findings = Findings(self.ledger, self.audits)
        self.report = Report(self.findings, self.pairs, policy, parts.audit)
        serving = Serving(self.lookup, savings, context)
        fetcher = Fetcher(self.forwarder, context)
        self._fetches = SharedFetch(serving, fetcher, parts.fleet, self.audits, context)
        self._embeddings = EmbeddingsAnswerer(
            parts.embeddings, fetcher, self.forwarder, savings, context
        )
        self.handler = Handler(self._fetches, self._embeddings, self.forwarder, context)
        inspecting = Lookup(parts.store, parts.embedder, parts.inspector, context, _FARTHEST)
        self.explainer = Explainer(self.handler, inspecting, serving, self.operations, context)

    async def aclose(self) -> None:
        """Wait for running work, then close all dependencies, the upstream last."""
        async with AsyncExitStack() as stack:
            for closing in (
                *(self._parts.upstream, self.lookup, self._parts.embeddings, self._parts.fleet),
                *(self.ledger, self._fetches, self._embeddings, self.handler),
            ):
                stack.push_async_callback(closing.aclose)
