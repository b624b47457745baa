"""Stale embeddings: served while newer ones are fetched, or in place of a failing upstream's."""

import asyncio
import json
from typing import Any

import pytest

from app.core.models import Header
from tests.bench import gate, read, settle
from tests.engine.test_embeddings import Bench, expected, status
from tests.fakes import FakeResponse, embeddings_json

STALE = "hit; ttl=-10; detail=exact"


def control(line: str) -> Header:
    return (b"cache-control", line.encode())


async def gone_stale(**limits: Any) -> Bench:
    """Return a proxy whose stored embeddings of `a` and `b` have been stale for 10 s."""
    bench = Bench(**{"ttl": 100, "stale_while_revalidate": 60, **limits})
    await bench.told(["a", "b"])
    bench.clock.advance(110)
    return bench


async def test_stale_embeddings_serve_at_once_and_newer_ones_are_fetched_behind_them() -> None:
    bench = await gone_stale()
    arrived, bench.upstream.before = gate()
    for _ in range(3):
        assert await bench.told(["b", "a"]) == (STALE, expected("b", "a"))
    arrived.set()
    await settle()
    assert bench.asked == [["a", "b"], ["b", "a"]]
    assert await bench.told(["a", "b"]) == ("hit; ttl=100; detail=exact", expected("a", "b"))


async def test_only_what_is_stale_is_fetched() -> None:
    bench = await gone_stale()
    await bench.told(["c"])
    assert await bench.told(["c", "a"]) == (STALE, expected("c", "a"))
    assert bench.asked == [["a", "b"], ["c"], ["a"]]


async def test_where_something_is_to_be_asked_for_it_is_asked_for_with_what_is_stale() -> None:
    bench = await gone_stale()
    assert await bench.told(["a", "c"]) == ("fwd=miss", expected("a", "c"))
    assert bench.asked == [["a", "b"], ["a", "c"]]


async def test_nothing_is_fetched_that_would_not_be_stored() -> None:
    bench = await gone_stale()
    assert (await bench.told(["a"], (b"x-cache-ttl", b"0")))[0] == STALE
    assert bench.asked == [["a", "b"]]


async def test_what_is_not_stored_is_not_fetched_for_everybody() -> None:
    bench = await gone_stale()
    bench.upstream.answer = lambda _: FakeResponse([b'{"object": "list", "data": []}'])
    for _ in range(3):
        assert await bench.told(["a"]) == (STALE, expected("a"))
        await settle()
    assert bench.asked == [["a", "b"], ["a"]]


@pytest.mark.parametrize("line", ["max-age=500", "min-fresh=0", "no-cache"])
async def test_who_wants_nothing_stale_waits_for_the_upstream(line: str) -> None:
    bench = await gone_stale()
    told, _ = await bench.told(["a", "b"], control(line))
    assert told == ("fwd=request" if line == "no-cache" else "fwd=miss")


async def test_stale_embeddings_stand_in_for_an_error() -> None:
    bench = await gone_stale(stale_while_revalidate=0, stale_if_error=60)
    bench.upstream.answer = lambda _: FakeResponse([b"{}"], 503)
    answers = await asyncio.gather(*(bench.told([text]) for text in "abab"))
    assert answers == [
        ("fwd=stale; fwd-status=503; ttl=-10; detail=exact", expected(text)) for text in "abab"
    ]
    for asked in ("c", ["a", "c"]):
        head, _ = await read(await bench.ask(asked))
        assert head.status_code == 503
    head, _ = await read(await bench.ask("a", control("no-cache")))
    assert head.status_code == 503


async def test_a_batch_that_waits_for_others_is_stood_in_for_as_well() -> None:
    bench = await gone_stale(stale_while_revalidate=0, stale_if_error=60)
    arrived, bench.upstream.before = gate()
    bench.upstream.answer = lambda _: FakeResponse([b"{}"], 429)
    first = asyncio.create_task(bench.told(["a"]))
    await settle()
    second = asyncio.create_task(bench.told(["b", "a"]))
    await settle()
    arrived.set()
    stood_in = "fwd=stale; fwd-status=429; ttl=-10; detail=exact"
    assert await first == (stood_in, expected("a"))
    assert await second == (stood_in, expected("b", "a"))


async def test_a_request_may_ask_for_a_lifetime() -> None:
    bench = Bench(min_ttl=20)
    bench.upstream.answer = lambda request: FakeResponse([embeddings_json(request)])
    for text, asked, ttl in (("a", b"50", 50), ("b", b"5", 20), ("c", b"?", 20)):
        await bench.told(text, (b"x-cache-ttl", asked))
        head, body = await read(await bench.ask(text))
        assert json.loads(body)["data"][0]["embedding"] == expected(text)[0]
        assert status(head) == f"hit; ttl={ttl}; detail=exact"


async def test_who_wants_it_kept_for_another_time_asks_for_it() -> None:
    bench = Bench()
    arrived, bench.upstream.before = gate()
    first = asyncio.create_task(bench.told(["a"], (b"x-cache-ttl", b"0")))
    await settle()
    second = asyncio.create_task(bench.told(["a"]))
    await settle()
    arrived.set()
    assert [(await first)[0], (await second)[0]] == ["fwd=miss", "fwd=miss"]
    assert (await bench.told(["a"]))[0] == "hit; ttl=3600; detail=exact"


async def test_what_is_being_fetched_is_finished_at_shutdown() -> None:
    bench = await gone_stale()
    arrived, bench.upstream.before = gate()
    await bench.told(["a"])
    closing = asyncio.create_task(bench.engine.aclose())
    await settle()
    assert not closing.done()
    arrived.set()
    await closing
    assert (await bench.told(["a"]))[0] == "hit; ttl=100; detail=exact"
