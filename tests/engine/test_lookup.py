from typing import Any

import pytest

from app.core.metrics import Metrics
from app.core.models import CacheKey, Guard, StoredResponse
from app.engine.lookup import Lookup, SemanticCache, Watch
from app.engine.matcher import Guards, Matcher, VerifierThreshold
from app.engine.resilience import ResilientEmbedder, ResilientVerifier
from app.engine.resilient_store import ResilientStore
from app.rules.cacheability import Limits
from app.rules.headers import CacheControl
from tests.fakes import FakeEmbedder, FakeStore, FakeVerifier, ManualClock, embedding_of, hang


class Bench:
    """A cache over fakes."""

    def __init__(self, **limits: Any) -> None:
        self.clock = ManualClock()
        self.store = FakeStore(self.clock)
        self.embedder = FakeEmbedder()
        self.verifier = FakeVerifier()
        self.metrics = Metrics()
        verifier = ResilientVerifier(self.verifier, 0.01, self.metrics)
        self.cache = SemanticCache(
            ResilientStore(self.store, self.metrics),
            ResilientEmbedder(self.embedder, self.metrics),
            Matcher(Guards(self.metrics), VerifierThreshold(verifier, 0.9, self.metrics)),
            Limits(**limits),
            self.clock,
        )

    def lookup(self, text: str | None = "valkey what", **control: Any) -> Lookup:
        key = CacheKey("p", f"digest of {text}", text)
        return self.cache.lookup(key, CacheControl(**control))

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
    hit = await bench.cache.exact(bench.lookup())
    assert hit is not None
    assert (hit.stored, hit.distance) == (stored, None)
    assert bench.embedder.texts == []


async def test_a_question_that_means_the_same_is_found_with_its_distance() -> None:
    bench = Bench()
    stored = await bench.keep("valkey is what")
    lookup = bench.lookup("valkey what")
    assert await bench.cache.exact(lookup) is None
    hit = await bench.cache.semantic(lookup)
    assert hit is not None
    assert hit.stored == stored
    assert hit.distance == pytest.approx(0.005, abs=0.005)


async def test_a_question_about_something_else_is_not_found() -> None:
    bench = Bench()
    await bench.keep("pasta how")
    lookup = bench.lookup("valkey what")
    assert await bench.cache.semantic(lookup) is None
    assert lookup.embedding is not None


async def test_the_nearest_that_no_guard_refuses_answers() -> None:
    bench = Bench()
    for text in ("valkey in version 7", "valkey in version 9", "valkey in the version 8"):
        await bench.keep(text)
    hit = await bench.cache.semantic(bench.lookup("valkey in version 8"))
    assert hit is not None
    assert hit.stored.key.text == "valkey in the version 8"


async def test_a_neighbor_that_a_guard_refuses_does_not_answer() -> None:
    bench = Bench()
    await bench.keep("valkey can scale")
    assert await bench.cache.semantic(bench.lookup("valkey can not scale")) is None


async def test_the_distance_of_a_hit_is_never_negative() -> None:
    bench = Bench()
    await bench.keep("valkey what")
    hit = await bench.cache.semantic(bench.lookup("valkey what"))
    assert hit is not None
    assert hit.distance is not None
    assert 0 <= hit.distance < 1e-6


async def test_without_text_nothing_is_embedded() -> None:
    bench = Bench()
    assert await bench.cache.semantic(bench.lookup(None)) is None
    assert bench.embedder.texts == []
    assert bench.store.calls == []


async def test_a_text_that_the_model_cannot_represent_is_not_searched_for() -> None:
    bench = Bench()
    bench.embedder.answer = lambda _: None
    lookup = bench.lookup()
    assert await bench.cache.semantic(lookup) is None
    assert (bench.store.calls, lookup.failure) == ([], None)


async def test_a_text_is_embedded_once() -> None:
    bench = Bench()
    lookup = bench.lookup()
    await bench.cache.semantic(lookup)
    await bench.cache.embed(lookup)
    assert len(bench.embedder.texts) == 1


async def test_a_stale_entry_answers_nobody() -> None:
    bench = Bench()
    stored = await bench.keep("valkey what")
    bench.store.got = stored  # a store that is slow to forget
    bench.clock.advance(60)
    assert await bench.cache.exact(bench.lookup()) is None


async def test_a_caller_may_ask_for_a_younger_answer() -> None:
    bench = Bench()
    await bench.keep("valkey what")
    bench.clock.advance(10)
    for find in (bench.cache.exact, bench.cache.semantic):
        assert await find(bench.lookup(max_age=10)) is not None
        assert await find(bench.lookup(max_age=9)) is None


@pytest.mark.parametrize("trouble", [fail, hang])
async def test_a_failing_store_is_a_miss_that_says_so(trouble: Any) -> None:
    bench = Bench(store_timeout=0.01)
    bench.store.before = trouble
    lookup = bench.lookup()
    assert await bench.cache.exact(lookup) is None
    assert lookup.failure == "store-unavailable"
    assert await bench.cache.exact(lookup) is None
    assert await bench.cache.semantic(lookup) is None
    assert bench.store.calls == ["get"]
    assert bench.embedder.texts == []


@pytest.mark.parametrize("trouble", [fail, hang])
async def test_a_failing_embedder_is_a_miss_that_says_so(trouble: Any) -> None:
    bench = Bench(embedder_timeout=0.01)
    bench.embedder.before = trouble
    lookup = bench.lookup()
    assert await bench.cache.semantic(lookup) is None
    assert lookup.failure == "embedder-unavailable"
    assert bench.store.calls == []


@pytest.mark.parametrize("trouble", [fail, hang])
async def test_a_failing_verifier_is_a_miss_that_says_so(trouble: Any) -> None:
    bench = Bench()
    await bench.keep("valkey is what")
    bench.verifier.before = trouble
    lookup = bench.lookup("valkey what")
    assert await bench.cache.semantic(lookup) is None
    assert lookup.failure == "verifier-unavailable"
    assert lookup.embedding is not None


async def test_a_neighbor_that_is_not_likely_enough_does_not_answer() -> None:
    bench = Bench()
    await bench.keep("valkey is what")
    bench.verifier.answer = lambda _: 0.89
    lookup = bench.lookup("valkey what")
    assert await bench.cache.semantic(lookup) is None
    assert lookup.failure is None


@pytest.mark.parametrize("asked", ["valkey scale", "valkey can scale", "valkey not", "pasta"])
async def test_a_look_up_that_is_watched_decides_alike(asked: str) -> None:
    bench = Bench()
    for text in ("valkey can scale", "valkey can not scale", "pasta how"):
        await bench.keep(text)
    watch = Watch()
    plain, watched = bench.lookup(asked), bench.lookup(asked)
    watched.watch = watch
    for find in (bench.cache.exact, bench.cache.semantic):
        assert await find(watched) == await find(plain)
    assert (watch.exact is None) is (asked != "valkey can scale")


async def test_a_look_up_that_is_watched_tells_what_it_comes_across() -> None:
    bench = Bench()
    old = await bench.keep("valkey can scale well")
    bench.clock.advance(10)
    opposite, far = [await bench.keep(text) for text in ("valkey can not scale", "pasta how")]
    lookup = bench.lookup("valkey can scale", max_age=5)
    lookup.watch = watch = Watch()
    assert await bench.cache.semantic(lookup) is None
    found = [candidate.stored for candidate in watch.nearest or ()]
    assert {stored.id for stored in found} == {old.id, opposite.id, far.id}
    assert [candidate.stored for candidate in watch.candidates] == [opposite]
    (opinion,) = watch.opinions
    assert (opinion.candidate.stored, opinion.refused_by) == (opposite, Guard.NEGATION)
    refused = {"guard": "negation"}
    assert not bench.metrics.registry.get_sample_value("reprise_refusals_total", refused)


async def test_closing_finishes_writes_and_closes_the_parts() -> None:
    bench = Bench()
    stored = await bench.keep("valkey what")
    await bench.store.memory.delete(stored.id)
    bench.cache.store(stored, None)
    await bench.cache.aclose()
    assert await bench.store.memory.get(stored.id) == stored
    assert bench.embedder.closed
    assert bench.verifier.closed


async def test_degraded_parts_are_named() -> None:
    bench = Bench()
    assert await bench.cache.degraded() == []
    bench.store.before = fail
    bench.embedder.before = fail
    for _ in range(5):
        await bench.cache.count()
        await bench.cache.embed(bench.lookup())
    assert await bench.cache.degraded() == ["store", "embedder"]
    assert await bench.cache.count() is None
