"""Time-bound questions on the path of a request."""

import asyncio
import statistics
import time
from typing import Any

import pytest

from app.core.models import ClientRequest, Header
from tests.asking import body_of
from tests.bench import CHAT, Bench, gate, read, settle
from tests.fakes import FakeResponse

NOW = "weather now in Paris?"
TODAY = "weather today in Paris?"
PLAIN = "weather usually in Paris?"
AGELESS: Header = (b"x-cache-ttl", b"3600")


def bench(**limits: Any) -> Bench:
    """Return a proxy whose clock is at the beginning of a quarter of an hour."""
    made = Bench(**limits)
    made.clock.advance(900 - made.clock.now % 900)
    return made


@pytest.mark.parametrize("text", [NOW, TODAY])
@pytest.mark.parametrize("headers", [[], [AGELESS]])
async def test_the_answer_to_a_time_bound_question_lives_a_minute(
    text: str, headers: list[Header]
) -> None:
    proxy = bench(stale_if_error=600, stale_while_revalidate=600)
    await proxy.status(text, *headers)
    assert await proxy.status(text) == "hit; ttl=60; detail=exact"
    proxy.clock.advance(59)
    assert await proxy.status(text) == "hit; ttl=1; detail=exact"
    proxy.clock.advance(1)
    assert await proxy.status(text) == "fwd=miss"
    proxy.clock.advance(61)
    proxy.upstream.answer = lambda _: FakeResponse([b"{}"], 503)
    head, _ = await read(await proxy.ask(text))
    assert head.status_code == 503


async def test_with_zero_it_is_not_stored() -> None:
    proxy = bench(volatile_ttl=0)
    for _ in range(2):
        assert await proxy.status(NOW) == "fwd=miss"
    assert "put" not in proxy.store.calls
    await proxy.status(PLAIN)
    assert (await proxy.status(PLAIN)).startswith("hit")


async def test_a_time_bound_question_is_answered_by_no_older_neighbour() -> None:
    proxy = bench(stale_while_revalidate=600)
    await proxy.status(PLAIN)
    proxy.clock.advance(60)
    assert (await proxy.status(NOW, (b"cache-control", b"only-if-cached"))).startswith("hit")
    proxy.clock.advance(1)
    assert await proxy.status(NOW) == "fwd=miss"
    proxy.clock.advance(61)
    assert (await proxy.status(PLAIN)).startswith("hit")  # which may be as old as others


async def test_a_neighbour_of_a_time_bound_answer_has_it_no_longer_than_that() -> None:
    proxy = bench(stale_while_revalidate=600)
    await proxy.status(NOW)
    proxy.clock.advance(59)
    assert (await proxy.status("weather in Paris?")).startswith("hit; ttl=1;")
    proxy.clock.advance(1)
    assert await proxy.status("weather in Paris?") == "fwd=miss"


@pytest.mark.parametrize(("text", "outcome"), [(TODAY, "fwd=miss"), (NOW, "hit; ttl=3599;")])
async def test_what_is_said_of_a_day_ends_with_it(text: str, outcome: str) -> None:
    proxy = bench(volatile_ttl=7200)
    proxy.clock.advance(899)
    assert await proxy.status(text) == "fwd=miss"
    proxy.clock.advance(1)
    assert (await proxy.status(text)).startswith(outcome)


async def test_an_answer_that_comes_on_the_next_day_is_not_stored() -> None:
    proxy = bench()
    proxy.clock.advance(899)
    arrived, proxy.upstream.before = gate()
    asked = asyncio.create_task(proxy.status(TODAY))
    await settle()
    proxy.clock.advance(1)
    arrived.set()
    assert await asked == "fwd=miss"
    await settle()
    assert "put" not in proxy.store.calls


async def test_who_asks_on_the_next_day_does_not_join_who_asked_the_day_before() -> None:
    proxy = bench()
    proxy.clock.advance(899)
    arrived, proxy.upstream.before = gate()
    asked = []
    for _ in range(2):
        asked.append(asyncio.create_task(proxy.status(TODAY)))
        await settle()
        proxy.clock.advance(1)
    arrived.set()
    assert [await status for status in asked] == ["fwd=miss", "fwd=miss"]


async def test_the_day_of_a_neighbour_counts_as_well() -> None:
    proxy = bench()
    proxy.clock.advance(890)
    await proxy.status(PLAIN)
    assert (await proxy.status(TODAY)).startswith("hit")
    proxy.clock.advance(20)
    assert (await proxy.status(NOW)).startswith("hit")
    assert await proxy.status(TODAY) == "fwd=miss"


async def test_a_question_that_one_caller_asked_is_read_again_for_another() -> None:
    """Otherwise, a faster answer would reveal that another caller has asked the same question."""
    proxy = bench().handler
    took: dict[str, list[float]] = {"first": [], "second": [], "again": []}
    for number in range(20):
        body = body_of(f"{number} How do I configure a proxy for several backends? " * 70)
        for name, key in (("first", b"a"), ("second", b"b"), ("again", b"b")):
            request = ClientRequest("POST", b"/chat/completions", b"", [(b"api-key", key)], body)
            begin = time.thread_time()
            await proxy.admit(CHAT, request, body)
            took[name].append(time.thread_time() - begin)
    first, second, again = map(statistics.median, took.values())
    assert second > first / 2 > again
