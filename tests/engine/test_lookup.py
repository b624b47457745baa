from dataclasses import dataclass
from typing import Any

import pytest

from app.core.metrics import Metrics
from app.core.models import CacheKey, ClientRequest, Guard, StoredResponse
from app.core.tags import UNTAGGED
from app.dialects.chat_completions.request import ChatRequest
from app.engine.context import Context
from app.engine.lookup import Lookup
from app.engine.matcher import Guards, Matcher, VerifierThreshold
from app.engine.resilience import ResilientEmbedder, ResilientVerifier
from app.engine.resilient_store import ResilientStore
from app.rules import decisions
from app.rules.decisions import Serve, Store
from app.rules.directives import Directives
from app.rules.headers import CacheControl
from app.rules.key import KeyRules
from app.rules.limits import Limits
from app.rules.plan import Found, Plan, Policy
from tests.fakes import FakeEmbedder, FakeStore, FakeVerifier, ManualClock, embedding_of, hang

PARSED = ChatRequest.parse(b'{"model": "m", "messages": [{"role": "user", "content": "a"}]}')


@dataclass
class Looking:
    """A look-up, and what it has found so far."""

    bench: "Bench"
    plan: Plan
    found: Found

    async def exact(self) -> Serve | None:
        self.found = await self.bench.lookup.exact(self.plan, self.found)
        return self._served(decisions.after_exact(self.plan, self.found, self.bench.clock.now))

    async def search(self) -> Serve | None:
        self.found = await self.bench.lookup.search(self.plan, self.found)
        return self._served(decisions.after_search(self.plan, self.found, self.bench.clock.now))

    @staticmethod
    def _served(decision: object) -> Serve | None:
        return decision if isinstance(decision, Serve) else None


class Bench:
    """A look-up over fakes."""

    def __init__(self, **limits: Any) -> None:
        self.clock = ManualClock()
        self.store = FakeStore(self.clock)
        self.embedder = FakeEmbedder()
        self.verifier = FakeVerifier()
        self.metrics = Metrics()
        verifier = ResilientVerifier(self.verifier, 0.01, self.metrics)
        self.limits = Limits(**limits)
        self.lookup = Lookup(
            ResilientStore(self.store, self.metrics),
            ResilientEmbedder(self.embedder, self.metrics),
            Matcher(self.metrics, Guards(), VerifierThreshold(verifier, 0.9)),
            Context(Policy(KeyRules("https://u.test"), self.limits), self.metrics, self.clock),
        )

    def look(self, text: str | None = "valkey what", **control: Any) -> Looking:
        plan = Plan(
            request=ClientRequest("POST", b"/chat/completions", b"", []),
            dialect="chat_completion",
            parsed=PARSED,
            size=0,
            key=CacheKey("p", f"digest of {text}", text),
            control=CacheControl(**control),
            asked=Directives(CacheControl(**control)),
            tagging=UNTAGGED,
            limits=self.limits,
            max_distance=self.limits.max_distance,
        )
        return Looking(self, plan, self.lookup.nothing())

    async def keep(self, text: str, *, by_meaning: bool = True) -> StoredResponse:
        key = CacheKey("p", f"digest of {text}", text)
        stored = StoredResponse(key, "m", b"{}", self.clock.now, 60.0)
        await self.store.memory.put(stored, embedding_of(text) if by_meaning else None)
        return stored


async def fail() -> None:
    raise RuntimeError


async def test_the_same_question_is_found_without_embedding() -> None:
    bench = Bench()
    stored = await bench.keep("valkey what")
    hit = await bench.look().exact()
    assert hit is not None
    assert (hit.stored, hit.status.distance) == (stored, None)
    assert bench.embedder.texts == []


async def test_a_question_that_means_the_same_is_found_with_its_distance() -> None:
    bench = Bench()
    stored = await bench.keep("valkey is what")
    look = bench.look("valkey what")
    assert await look.exact() is None
    hit = await look.search()
    assert hit is not None
    assert hit.stored == stored
    assert hit.status.distance == pytest.approx(0.005, abs=0.005)


async def test_a_question_about_something_else_is_not_found() -> None:
    bench = Bench()
    await bench.keep("pasta how")
    look = bench.look("valkey what")
    assert await look.search() is None
    assert look.found.embedding is not None


async def test_the_nearest_that_no_guard_refuses_answers() -> None:
    bench = Bench()
    for text in ("valkey in version 7", "valkey in version 9", "valkey in the version 8"):
        await bench.keep(text)
    hit = await bench.look("valkey in version 8").search()
    assert hit is not None
    assert hit.stored.key.text == "valkey in the version 8"


async def test_a_neighbor_that_a_guard_refuses_does_not_answer() -> None:
    bench = Bench()
    await bench.keep("valkey can scale")
    assert await bench.look("valkey can not scale").search() is None


async def test_the_distance_of_a_hit_is_never_negative() -> None:
    bench = Bench()
    await bench.keep("valkey what")
    hit = await bench.look("valkey what").search()
    assert hit is not None
    assert hit.status.distance is not None
    assert 0 <= hit.status.distance < 1e-6


async def test_without_text_nothing_is_embedded() -> None:
    bench = Bench()
    assert await bench.look(None).search() is None
    assert bench.embedder.texts == []
    assert bench.store.calls == []


async def test_a_text_that_the_model_cannot_represent_is_not_searched_for() -> None:
    bench = Bench()
    bench.embedder.answer = lambda _: None
    look = bench.look()
    assert await look.search() is None
    assert (bench.store.calls, look.found.failure) == ([], None)


async def test_a_text_is_embedded_once() -> None:
    bench = Bench()
    look = bench.look()
    await look.search()
    look.found = await bench.lookup.embed(look.plan, look.found)
    assert len(bench.embedder.texts) == 1


async def test_a_stale_entry_answers_nobody() -> None:
    bench = Bench()
    stored = await bench.keep("valkey what")
    bench.store.got = stored  # a store that is slow to forget
    bench.clock.advance(60)
    assert await bench.look().exact() is None


async def test_a_caller_may_ask_for_a_younger_answer() -> None:
    bench = Bench()
    await bench.keep("valkey what")
    bench.clock.advance(10)
    for find in (Looking.exact, Looking.search):
        assert await find(bench.look(max_age=10)) is not None
        assert await find(bench.look(max_age=9)) is None


@pytest.mark.parametrize("trouble", [fail, hang])
async def test_a_failing_store_is_a_miss_that_says_so(trouble: Any) -> None:
    bench = Bench(store_timeout=0.01)
    bench.store.before = trouble
    look = bench.look()
    assert await look.exact() is None
    assert look.found.failure == "store-unavailable"
    assert await look.exact() is None
    assert await look.search() is None
    assert bench.store.calls == ["get"]
    assert bench.embedder.texts == []


@pytest.mark.parametrize("trouble", [fail, hang])
async def test_a_failing_embedder_is_a_miss_that_says_so(trouble: Any) -> None:
    bench = Bench(embedder_timeout=0.01)
    bench.embedder.before = trouble
    look = bench.look()
    assert await look.search() is None
    assert look.found.failure == "embedder-unavailable"
    assert bench.store.calls == []


@pytest.mark.parametrize("trouble", [fail, hang])
async def test_a_failing_verifier_is_a_miss_that_says_so(trouble: Any) -> None:
    bench = Bench()
    await bench.keep("valkey is what")
    bench.verifier.before = trouble
    look = bench.look("valkey what")
    assert await look.search() is None
    assert look.found.failure == "verifier-unavailable"
    assert look.found.embedding is not None


async def test_a_neighbor_that_is_not_likely_enough_does_not_answer() -> None:
    bench = Bench()
    await bench.keep("valkey is what")
    bench.verifier.answer = lambda _: 0.89
    look = bench.look("valkey what")
    assert await look.search() is None
    assert look.found.failure is None


async def test_a_look_up_tells_what_it_came_across() -> None:
    bench = Bench(max_distance=2.0)
    old = await bench.keep("valkey can scale well")
    bench.clock.advance(10)
    opposite, far = [await bench.keep(text) for text in ("valkey can not scale", "pasta how")]
    bench.verifier.answer = lambda _: 0.1
    look = bench.look("valkey can scale", max_age=5)
    assert await look.search() is None
    found = [candidate.stored.id for candidate in look.found.candidates or ()]
    assert set(found) == {old.id, opposite.id, far.id}
    refused = {v.candidate.stored.id: v.refused_by for v in look.found.verdicts}
    # The old one is not worth judging.
    assert refused == {opposite.id: Guard.NEGATION, far.id: "verifier"}


async def test_closing_finishes_writes_and_closes_the_parts() -> None:
    bench = Bench()
    stored = await bench.keep("valkey what")
    await bench.store.memory.delete(stored.id)
    bench.lookup.store(Store(stored, None))
    await bench.lookup.aclose()
    assert await bench.store.memory.get(stored.id) == stored
    assert bench.embedder.closed
    assert bench.verifier.closed


async def test_degraded_parts_are_named() -> None:
    bench = Bench()
    assert await bench.lookup.degraded() == []
    bench.store.before = fail
    bench.embedder.before = fail
    for _ in range(5):
        await bench.lookup.count()
        look = bench.look()
        await bench.lookup.embed(look.plan, look.found)
    assert await bench.lookup.degraded() == ["store", "embedder"]
    assert await bench.lookup.count() is None
