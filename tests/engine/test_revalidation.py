"""Stale answers that are served at once, while newer ones are fetched in the background."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from app.core.errors import NotCached, UpstreamTimeout
from app.core.models import Header
from tests.bench import Bench, content, gate, read, settle
from tests.fakes import FakeResponse, completion, hang

EXACT = "hit; ttl=-10; detail=exact"


def control(line: str) -> Header:
    return (b"cache-control", line.encode())


def answering(bench: Bench, text: str, status_code: int = 200) -> None:
    body = json.dumps(completion(text)).encode()
    bench.upstream.answer = lambda _: FakeResponse([body], status_code)


async def gone_stale(text: str = "valkey what", **limits: Any) -> Bench:
    """Return a proxy whose stored answer has been stale for 10 s. The upstream has a newer one."""
    usual: dict[str, Any] = {"ttl": 100, "stale_while_revalidate": 60}
    bench = Bench(**{**usual, **limits})
    answering(bench, "Old.")
    await bench.status(text)
    await settle()
    answering(bench, "New.")
    bench.clock.advance(110)
    return bench


async def test_a_stale_answer_serves_at_once_and_a_newer_one_is_fetched_behind_it() -> None:
    bench = await gone_stale()
    arrived, bench.upstream.before = gate()
    head, body = await read(await bench.ask())
    assert (content(body), head.cache_status.outcome) == ("Old.", "STALE")
    assert await bench.status() == EXACT
    arrived.set()
    await settle()
    head, body = await read(await bench.ask())
    assert (content(body), head.cache_status.outcome) == ("New.", "HIT")
    assert len(bench.upstream.requests) == 2


async def test_the_newer_answer_serves_by_meaning_too() -> None:
    bench = await gone_stale()
    assert await bench.status() == EXACT
    await settle()
    assert content((await read(await bench.ask("valkey is what")))[1]) == "New."


async def test_a_stale_neighbour_serves_at_once_and_is_fetched_for_the_question_asked() -> None:
    bench = await gone_stale()
    arrived, bench.upstream.before = gate()
    for _ in range(2):
        head, body = await read(await bench.ask("valkey is what"))
        assert (content(body), head.cache_status.tier) == ("Old.", "semantic")
        assert head.cache_status.ttl == -10
    arrived.set()
    await settle()
    assert len(bench.upstream.requests) == 2
    assert await bench.status("valkey is what") == "hit; ttl=100; detail=exact"
    assert await bench.status("valkey what") == EXACT


async def test_a_fresh_neighbour_goes_before_a_nearer_stale_one() -> None:
    bench = await gone_stale(max_distance=0.5)
    answering(bench, "Fresh.")
    await bench.status("valkey or what is it", control("no-cache"))
    answering(bench, "New.")
    _, body = await read(await bench.ask("valkey is what"))
    assert content(body) == "Fresh."
    assert len(bench.upstream.requests) == 2


async def test_a_guard_refuses_stale_neighbours_too() -> None:
    bench = await gone_stale("valkey in version 7")
    assert await bench.status("valkey in version 8") == "fwd=miss"
    assert bench.count("reprise_refusals_total", guard="numbers") == 1


async def test_one_refresh_runs_for_everybody() -> None:
    bench = await gone_stale()
    arrived, bench.upstream.before = gate()
    for stream in (False, True):
        statuses = await asyncio.gather(*(bench.status(stream=stream) for _ in range(8)))
        assert set(statuses) == {EXACT}
    await settle()
    assert len(bench.upstream.requests) == 2
    arrived.set()


async def test_who_may_not_have_the_stale_answer_follows_the_refresh() -> None:
    bench = await gone_stale()
    arrived, bench.upstream.before = gate()
    await bench.status()
    follower = asyncio.create_task(bench.status("valkey what", control("max-age=5")))
    await settle()
    arrived.set()
    assert await follower == "fwd=stale; collapsed"
    assert bench.count("reprise_collapsed_requests_total") == 1
    assert len(bench.upstream.requests) == 2


@pytest.mark.parametrize(
    ("header", "forward"),
    [((b"x-cache-tags", b"a"), "fwd=miss"), ((b"x-cache-ttl", b"50"), "fwd=stale")],
)
async def test_who_wants_it_kept_in_another_way_follows_no_refresh(
    header: Header, forward: str
) -> None:
    bench = await gone_stale()
    arrived, bench.upstream.before = gate()
    await bench.status()
    asked = asyncio.create_task(bench.status("valkey what", header, control("max-age=5")))
    await settle()
    arrived.set()
    assert await asked == forward
    await settle()
    assert (await bench.status("valkey what", header)).startswith("hit")
    assert len(bench.upstream.requests) == 3


async def test_no_cache_follows_no_refresh() -> None:
    bench = await gone_stale()
    arrived, bench.upstream.before = gate()
    await bench.status()
    asked = asyncio.create_task(bench.status("valkey what", control("no-cache")))
    await settle()
    assert len(bench.upstream.requests) == 3
    arrived.set()
    assert await asked == "fwd=request"


@pytest.mark.parametrize("line", ["max-age=1000", "min-fresh=0", "max-stale=5", "max-stale=soon"])
async def test_who_wants_nothing_stale_waits_for_the_upstream(line: str) -> None:
    bench = await gone_stale()
    head, body = await read(await bench.ask("valkey what", control(line)))
    assert content(body) == "New."
    assert head.cache_status.forward == "stale"


async def test_max_stale_reaches_into_the_other_window() -> None:
    bench = await gone_stale(stale_while_revalidate=0, stale_if_error=60)
    assert await bench.status("valkey what", control("max-stale")) == EXACT
    await settle()
    assert content((await read(await bench.ask()))[1]) == "New."
    bench = await gone_stale(stale_while_revalidate=0, stale_if_error=60)
    assert await bench.status() == "fwd=stale"


async def test_past_the_window_it_is_a_miss() -> None:
    bench = await gone_stale()
    bench.clock.advance(50)
    assert await bench.status() == "fwd=miss"


async def test_only_if_cached_is_served_stale_and_fetches_nothing() -> None:
    bench = await gone_stale()
    assert await bench.status("valkey what", control("only-if-cached")) == EXACT
    await settle()
    assert len(bench.upstream.requests) == 1
    with pytest.raises(NotCached):
        await bench.status("valkey what", control("only-if-cached, max-age=5"))


async def test_nothing_is_fetched_that_would_not_be_stored() -> None:
    bench = await gone_stale()
    for _ in range(2):
        assert await bench.status("valkey what", (b"x-cache-ttl", b"0")) == EXACT
        await settle()
    assert len(bench.upstream.requests) == 1


@pytest.mark.parametrize("status_code", [429, 500, 503])
async def test_after_a_failure_the_upstream_is_left_alone_for_a_while(status_code: int) -> None:
    bench = await gone_stale()
    answering(bench, "Down.", status_code)
    for _ in range(5):
        assert await bench.status() == EXACT
        await settle()
    assert len(bench.upstream.requests) == 2
    bench.clock.advance(10)
    answering(bench, "New.")
    assert await bench.status() == "hit; ttl=-20; detail=exact"
    await settle()
    assert await bench.status() == "hit; ttl=100; detail=exact"


async def test_an_answer_that_is_not_stored_is_not_fetched_for_everybody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = await gone_stale()
    cut_short = completion("Cut sh")
    cut_short["choices"][0]["finish_reason"] = "length"
    bench.upstream.answer = lambda _: FakeResponse([json.dumps(cut_short).encode()])
    for _ in range(5):
        assert await bench.status() == EXACT
        await settle()
    assert len(bench.upstream.requests) == 2
    assert caplog.messages == ["a background revalidation failed: its answer was not stored"]


async def test_an_answer_that_cannot_be_written_is_not_fetched_for_everybody() -> None:
    bench = await gone_stale()

    async def full() -> None:
        raise RuntimeError

    bench.store.before_put = full
    for _ in range(5):
        assert await bench.status() == EXACT
        await settle()
    assert len(bench.upstream.requests) == 2


async def test_one_callers_bad_key_does_not_keep_others_from_refreshing() -> None:
    bench = await gone_stale()
    answering(bench, "Who are you?", 401)
    for _ in range(2):
        assert await bench.status() == EXACT
        await settle()
    assert len(bench.upstream.requests) == 3


async def test_an_error_behind_a_stale_answer_reaches_the_log_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = await gone_stale()

    async def time_out() -> None:
        raise UpstreamTimeout("sk-secret")

    bench.upstream.before = time_out
    assert await bench.status() == EXACT
    await settle()
    assert caplog.messages == ["a background revalidation failed: UpstreamTimeout"]


async def test_a_purge_defeats_a_refresh() -> None:
    bench = await gone_stale()
    arrived, bench.upstream.before = gate()
    await bench.status()
    await settle()
    await bench.store.purge()
    arrived.set()
    await settle()
    assert await bench.status() == "fwd=miss"


async def test_another_proxys_newer_answer_is_not_fetched_again() -> None:
    bench = await gone_stale()
    (stored,) = (await bench.store.memory.scan("", 2)).entries
    newer = replace(stored, stored_at=bench.clock.now)
    looks = iter([stored, newer])

    async def look() -> None:
        bench.store.got = next(looks)

    bench.store.before = look
    assert await bench.status() == EXACT
    await settle()
    assert bench.store.got is newer
    assert len(bench.upstream.requests) == 1


async def test_not_everything_is_fetched_at_once() -> None:
    bench = Bench(ttl=100, stale_while_revalidate=60)
    questions = [f"q{number} x" for number in range(70)]
    for question in questions:
        await bench.status(question)
    bench.clock.advance(110)
    bench.upstream.before = hang
    for question in questions:
        assert await bench.status(question) == EXACT
    await settle()
    assert len(bench.upstream.requests) == 70 + 64


async def test_what_is_being_fetched_is_finished_at_shutdown() -> None:
    bench = await gone_stale()
    arrived, bench.upstream.before = gate()
    await bench.status()
    closing = asyncio.create_task(bench.aclose())
    await settle()
    assert not closing.done()
    arrived.set()
    await closing
    await settle()
    assert await bench.status() == "hit; ttl=100; detail=exact"


async def test_reading_prolongs_no_life() -> None:
    bench = Bench(ttl=100, stale_while_revalidate=60)
    await bench.status()
    for _ in range(10):
        bench.clock.advance(9.9)
        for text in ("valkey what", "valkey is what"):
            assert (await bench.status(text)).startswith("hit")
    bench.clock.advance(1)
    assert (await bench.status()).startswith("hit; ttl=-1;")
