import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from app.core.errors import DependencyUnavailable
from app.core.metrics import Metrics
from app.core.models import CacheKey, Candidate, StoredEmbedding, StoredResponse
from app.engine.resilience import Budget
from app.engine.resilient_store import ResilientEmbeddingStore, ResilientStore
from tests.fakes import FakeStore, ManualClock, embedding_of, hang

KEY = CacheKey("p", "d", "text")
STORED = StoredResponse(KEY, "m", b"{}", ManualClock().now, 60.0)


async def fail() -> None:
    raise RuntimeError("a prompt that must not be logged")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(ManualClock())


def failures(metrics: Metrics, part: str) -> float | None:
    return metrics.registry.get_sample_value("reprise_failures_total", {"part": part})


@pytest.mark.parametrize("trouble", [fail, hang])
async def test_a_store_that_raises_or_hangs_is_unavailable(
    store: FakeStore, metrics: Metrics, trouble: object
) -> None:
    store.before = trouble  # type: ignore[assignment]
    with pytest.raises(DependencyUnavailable, match="store-unavailable"):
        await ResilientStore(store, metrics).get(KEY, Budget(0.01))
    assert failures(metrics, "store") == 1


@pytest.mark.parametrize("key", [CacheKey("p", "other", "text"), CacheKey("other", "d", "text")])
async def test_a_store_that_gives_another_entry_is_not_believed(
    store: FakeStore, metrics: Metrics, key: CacheKey
) -> None:
    store.got = StoredResponse(key, "m", b"{}", 1.0, 60.0)
    with pytest.raises(DependencyUnavailable):
        await ResilientStore(store, metrics).get(KEY, Budget(0.01))


async def test_a_store_that_mixes_partitions_up_is_not_believed(
    store: FakeStore, metrics: Metrics
) -> None:
    foreign = StoredResponse(CacheKey("other", "e", "text"), "m", b"{}", 1.0, 60.0)
    store.found = [Candidate(STORED, 0.1), Candidate(foreign, 0.2)]
    with pytest.raises(DependencyUnavailable):
        await ResilientStore(store, metrics).nearest(KEY, embedding_of("a"), 0.15, Budget(0.01))


async def test_a_store_that_answers_nonsense_is_unavailable(
    store: FakeStore, metrics: Metrics
) -> None:
    store.got = {"completion": "{}"}  # type: ignore[assignment]
    with pytest.raises(DependencyUnavailable):
        await ResilientStore(store, metrics).get(KEY, Budget(0.01))


async def test_a_store_that_keeps_failing_is_left_alone_and_comes_back(
    store: FakeStore, metrics: Metrics
) -> None:
    clock = ManualClock()
    part = ResilientStore(store, metrics, clock)
    store.before = fail
    for _ in range(20):
        with pytest.raises(DependencyUnavailable):
            await part.get(KEY, Budget(0.01))
    assert len(store.calls) == 5
    assert part.is_down
    store.before = None
    clock.advance(3)
    assert await part.get(KEY, Budget(0.01)) is None
    assert not part.is_down


async def test_a_failure_is_logged_without_its_message(
    store: FakeStore, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    store.before = fail
    with caplog.at_level(logging.DEBUG), pytest.raises(DependencyUnavailable):
        await ResilientStore(store, metrics).get(KEY, Budget(0.01))
    assert "the store failed: RuntimeError" in caplog.text
    assert "prompt" not in caplog.text


async def test_slow_searches_do_not_keep_exact_hits_from_being_served(
    store: FakeStore, metrics: Metrics
) -> None:
    part = ResilientStore(store, metrics)
    await store.memory.put(STORED, None)
    store.before = hang
    for _ in range(5):
        with pytest.raises(DependencyUnavailable):
            await part.nearest(KEY, embedding_of("a"), 0.15, Budget(0.001))
    store.before = None
    assert part.is_down
    assert await part.get(KEY, Budget(1)) == STORED


async def test_durations_are_observed_whether_a_call_fails_or_not(
    store: FakeStore, metrics: Metrics
) -> None:
    part = ResilientStore(store, metrics)
    await part.get(KEY, Budget(0.01))
    store.before = fail
    with pytest.raises(DependencyUnavailable):
        await part.get(KEY, Budget(0.01))
    count = metrics.registry.get_sample_value("reprise_lookup_seconds_count", {"tier": "exact"})
    assert count == 2


class Gate:
    """Something that tasks wait for. It also tells a test that a task waits."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.opened.wait()


async def test_a_look_up_waits_for_the_write_of_its_own_key(
    store: FakeStore, metrics: Metrics
) -> None:
    part = ResilientStore(store, metrics)
    store.before_put = gate = Gate()
    part.put(STORED, None)
    finding = asyncio.create_task(part.get(KEY, Budget(5)))
    await gate.reached.wait()
    assert not finding.done()
    gate.opened.set()
    assert await finding == STORED


async def test_a_write_holds_no_other_look_up_up(store: FakeStore, metrics: Metrics) -> None:
    part = ResilientStore(store, metrics)
    store.before_put = gate = Gate()
    part.put(STORED, None)
    await gate.reached.wait()
    other = CacheKey("p", "other", "text")
    assert await part.get(other, Budget(5)) is None
    gate.opened.set()
    await part.aclose()


async def test_a_write_that_hangs_is_no_failure_to_read(store: FakeStore, metrics: Metrics) -> None:
    part = ResilientStore(store, metrics)
    store.before_put = gate = Gate()
    part.put(STORED, None)
    await gate.reached.wait()
    assert await part.get(KEY, Budget(0.1)) is None
    assert not failures(metrics, "store")
    gate.opened.set()
    await part.aclose()


async def test_the_newer_of_two_answers_stays(store: FakeStore, metrics: Metrics) -> None:
    part = ResilientStore(store, metrics)
    store.before_put = gate = Gate()
    newer = replace(STORED, content=b'{"newer":true}')
    part.put(STORED, None)
    await gate.reached.wait()
    part.put(newer, None)
    gate.opened.set()
    assert await part.get(KEY, Budget(5)) == newer


async def test_a_budget_that_is_spent_is_no_failure(store: FakeStore, metrics: Metrics) -> None:
    budget = Budget(0)
    with pytest.raises(DependencyUnavailable):
        await ResilientStore(store, metrics).get(KEY, budget)
    assert (store.calls, failures(metrics, "store")) == ([], 0)


async def test_calls_are_charged_to_the_budget(store: FakeStore, metrics: Metrics) -> None:
    clock = ManualClock()

    async def slow() -> None:
        clock.advance(0.1)

    store.before = slow
    budget = Budget(1)
    part = ResilientStore(store, metrics, clock)
    await part.get(KEY, budget)
    await part.nearest(KEY, embedding_of("a"), 0.15, budget)
    assert budget.seconds == pytest.approx(0.8)


async def test_a_write_that_fails_stays_inside(store: FakeStore, metrics: Metrics) -> None:
    part = ResilientStore(store, metrics)
    store.before_put = fail
    part.put(STORED, None)
    assert await part.get(KEY, Budget(5)) is None
    assert failures(metrics, "store") == 1
    assert not metrics.registry.get_sample_value(
        "reprise_stored_total", {"kind": "chat_completion"}
    )


async def test_closing_finishes_what_is_being_written(store: FakeStore, metrics: Metrics) -> None:
    part = ResilientStore(store, metrics)
    part.put(STORED, None)
    await part.aclose()
    assert await store.memory.get(STORED.id) == STORED


async def test_closing_does_not_wait_for_ever(
    store: FakeStore, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.resilient_store._CLOSING_SECONDS", 0.01)
    part = ResilientStore(store, metrics)
    store.before_put = hang
    part.put(STORED, None)
    await part.aclose()


EMBEDDING = StoredEmbedding("e", "m", bytes(8), 4, ManualClock().now, 60.0)


async def test_embeddings_are_kept_in_order_and_waited_for(
    store: FakeStore, metrics: Metrics
) -> None:
    part = ResilientEmbeddingStore(store, metrics)
    store.before_put = gate = Gate()
    part.put([EMBEDDING, replace(EMBEDDING, id="f")])
    asking = asyncio.create_task(part.get(["f", "g", "e"], Budget(10)))
    await asyncio.sleep(0)
    assert not asking.done()
    gate.opened.set()
    found = await asking
    assert [stored.id if stored else None for stored in found] == ["f", None, "e"]
    assert metrics.registry.get_sample_value("reprise_stored_total", {"kind": "embedding"}) == 2
    await part.aclose()


async def test_an_embedding_whose_write_hangs_is_no_failure_to_read(
    store: FakeStore, metrics: Metrics
) -> None:
    part = ResilientEmbeddingStore(store, metrics)
    store.before_put = gate = Gate()
    part.put([EMBEDDING])
    await gate.reached.wait()
    assert await part.get([EMBEDDING.id], Budget(0.1)) == [None]
    assert not failures(metrics, "store")
    gate.opened.set()
    await part.aclose()


async def test_a_store_that_mixes_embeddings_up_is_not_believed(
    store: FakeStore, metrics: Metrics
) -> None:
    store.given = [EMBEDDING]
    part = ResilientEmbeddingStore(store, metrics)
    for digests in (["f"], ["e", "e"]):
        with pytest.raises(DependencyUnavailable):
            await part.get(digests, Budget(1))


@pytest.mark.parametrize("trouble", [fail, hang])
async def test_a_failing_store_of_embeddings_is_unavailable(
    store: FakeStore, metrics: Metrics, trouble: Callable[[], Awaitable[None]]
) -> None:
    store.before = trouble
    part = ResilientEmbeddingStore(store, metrics)
    for _ in range(5):
        with pytest.raises(DependencyUnavailable, match="store-unavailable"):
            await part.get(["e"], Budget(0.01))
    assert part.is_down
