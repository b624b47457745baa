"""The engine of a proxy with fakes for all of its ports, for tests without sockets."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from app.core.accounts import NoPrices
from app.core.cache_status import Head, Replay
from app.core.metrics import Metrics
from app.core.models import ClientRequest, Clock, Header
from app.core.ports import Prices
from app.dialects.chat_completions.request import ChatCompletions
from app.engine.answers import PendingAnswer
from app.engine.assembly import Dependencies, Engine
from app.engine.audits import AuditTerms
from app.engine.explain import Explanation
from app.engine.fleet import Fleet
from app.engine.matcher import Guards, Matcher, VerifierThreshold
from app.engine.resilience import ResilientEmbedder, ResilientVerifier
from app.engine.resilient_store import ResilientEmbeddingStore, ResilientStore
from app.rules.headers import cache_status_value
from app.rules.key import KeyRules
from app.rules.limits import Limits
from app.rules.modes import Mode
from app.rules.plan import Policy
from tests.fakes import (
    FakeEmbedder,
    FakeLeases,
    FakeStore,
    FakeUpstream,
    FakeVerifier,
    ManualClock,
)

CHAT = ChatCompletions()
NO_AUDITS, NO_PRICES = AuditTerms(), NoPrices()


class Bench:
    """The engine of a proxy with fakes for all of its ports.

    `part_clock`: the clock for circuit breakers and durations. `limits`: the operator's Limits.
    `leases`: if given, the proxy is one of a fleet.
    """

    def __init__(  # noqa: PLR0913 - each is another thing that a test may decide
        self,
        *,
        verifier: FakeVerifier | None = None,
        part_clock: Clock = time.monotonic,
        leases: FakeLeases | None = None,
        mode: Mode = Mode.SERVE,
        audit: AuditTerms = NO_AUDITS,
        prices: Prices = NO_PRICES,
        **limits: Any,
    ) -> None:
        self.clock = ManualClock()
        self.store = FakeStore(self.clock)
        self.embedder = FakeEmbedder()
        self.upstream = FakeUpstream()
        self.metrics = Metrics()
        policy = Policy(KeyRules("https://upstream.test/v1"), Limits(**limits), mode)
        guards, threshold = Guards(), None
        if verifier is not None:
            verified = ResilientVerifier(verifier, 60.0, self.metrics, part_clock)
            threshold = VerifierThreshold(verified, 0.9)
        candidates = policy.limits.candidates
        self.embeddings = ResilientEmbeddingStore(self.store, self.metrics, part_clock)
        parts = Dependencies(
            store=ResilientStore(self.store, self.metrics, part_clock, candidates=candidates),
            embeddings=self.embeddings,
            embedder=ResilientEmbedder(self.embedder, self.metrics, part_clock),
            matcher=Matcher(self.metrics, guards, threshold),
            inspector=Matcher(Metrics(), guards, threshold),
            upstream=self.upstream,
            fleet=Fleet(leases, 60.0, self.metrics),
            metrics=self.metrics,
            clock=self.clock,
            audit=audit,
            prices=prices,
        )
        self.engine = engine = Engine(parts, policy)
        self.lookup, self.handler = engine.lookup, engine.handler
        self.explainer = engine.explainer

    async def aclose(self) -> None:
        await self.engine.aclose()

    async def ask(
        self, text: str = "valkey what", *headers: Header, **fields: Any
    ) -> Replay | PendingAnswer:
        body = json.dumps(
            {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
        ).encode()
        return await self.send(body, *headers)

    async def send(self, body: bytes, *headers: Header) -> Replay | PendingAnswer:
        request = ClientRequest("POST", b"/chat/completions", b"", headers, body)
        return await self.handler.handle(CHAT, request, body)

    async def explain(self, body: bytes, *headers: Header) -> Explanation:
        request = ClientRequest("POST", b"/chat/completions", b"", headers, body)
        return await self.explainer.explain(CHAT, request, body)

    async def status(self, *args: Any, **fields: Any) -> str:
        head, _ = await read(await self.ask(*args, **fields))
        return cache_status_value(head.cache_status).removeprefix("reprise; ")

    def count(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


async def read(answer: Replay | PendingAnswer) -> tuple[Head, bytes]:
    if isinstance(answer, Replay):
        return answer.head, answer.body
    try:
        head = await answer.head()
        return head, b"".join([piece async for piece in answer])
    finally:
        await answer.aclose()


def content(body: bytes) -> str:
    text: str = json.loads(body)["choices"][0]["message"]["content"]
    return text


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def gate() -> tuple[asyncio.Event, Callable[[], Awaitable[None]]]:
    event = asyncio.Event()

    async def wait() -> None:
        await event.wait()

    return event, wait
