"""Stored answers in place of a failing upstream's."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.core.errors import Refusal, UpstreamInterrupted, UpstreamTimeout, UpstreamUnreachable
from app.core.models import Header
from tests.bench import Bench, content, read, settle
from tests.fakes import FakeResponse, completion, hang

ERROR = b'{"error":{"message":"down"}}'
PLAIN = "ttl=-10; detail=exact"
STREAM_TYPE: Header = (b"content-type", b"text/event-stream")


def control(line: str) -> Header:
    return (b"cache-control", line.encode())


def raising(error: Exception) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


async def nothing() -> None:
    """Do nothing."""


async def gone_stale(text: str = "valkey what", **limits: Any) -> Bench:
    """Return a proxy whose stored answer has been stale for 10 s, and whose upstream is down."""
    bench = Bench(**{"ttl": 100, "stale_if_error": 60, **limits})
    await bench.status(text)
    await settle()
    bench.clock.advance(110)
    bench.upstream.answer = lambda _: FakeResponse([ERROR], 503)
    return bench


@pytest.mark.parametrize("status_code", [429, 500, 502, 503, 504, 529])
async def test_a_stale_answer_stands_in_for_an_error_of_the_upstream(status_code: int) -> None:
    bench = await gone_stale()
    bench.upstream.answer = lambda _: FakeResponse([ERROR], status_code)
    head, body = await read(await bench.ask())
    assert (head.status_code, content(body)) == (200, "Answer to valkey what")
    assert await bench.status() == f"fwd=stale; fwd-status={status_code}; {PLAIN}"
    assert head.cache_status.outcome == "STALE"
    assert len(bench.upstream.requests) == 3


@pytest.mark.parametrize("status_code", [400, 401, 404, 408, 200, 203])
async def test_other_answers_of_the_upstream_are_its_answer(status_code: int) -> None:
    bench = await gone_stale()
    bench.upstream.answer = lambda _: FakeResponse([ERROR], status_code)
    head, body = await read(await bench.ask())
    assert (head.status_code, body) == (status_code, ERROR)
    assert head.cache_status.forward == "stale"


@pytest.mark.parametrize("error", [UpstreamTimeout("slow"), UpstreamUnreachable("refused")])
async def test_a_stale_answer_stands_in_for_an_upstream_that_is_not_there(error: Refusal) -> None:
    bench = await gone_stale()
    bench.upstream.before = raising(error)
    assert await bench.status() == f"fwd=stale; {PLAIN}"
    with pytest.raises(type(error)):
        await bench.status("pasta how")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stale_neighbour_stands_in_too(*, stream: bool) -> None:
    bench = await gone_stale()
    head, body = await read(await bench.ask("valkey is what", stream=stream))
    assert head.cache_status.tier == "semantic"
    assert (head.cache_status.forward, head.cache_status.ttl) == ("stale", -10)
    assert b"Answer to valkey what" in body


async def test_a_neighbour_that_a_guard_refuses_does_not_stand_in() -> None:
    bench = await gone_stale("valkey in version 7")
    head, _ = await read(await bench.ask("valkey in version 8"))
    assert head.status_code == 503


async def test_past_the_window_the_client_gets_the_error() -> None:
    bench = await gone_stale()
    bench.clock.advance(50)
    head, body = await read(await bench.ask())
    assert (head.status_code, body) == (503, ERROR)


@pytest.mark.parametrize(
    ("line", "stands_in"),
    [
        ("stale-if-error=10", True),
        ("stale-if-error=9", False),
        ("stale-if-error=soon", False),
        ("stale-if-error=9999", True),
        ("max-age=1000", False),
        ("max-age=1, stale-if-error=60", True),
        ("min-fresh=1", False),
        ("max-stale=9", False),
        ("no-cache", False),
        ("no-cache, stale-if-error=60", False),
        ("no-store", False),
    ],
)
async def test_the_client_may_be_stricter(line: str, *, stands_in: bool) -> None:
    bench = await gone_stale()
    head, _ = await read(await bench.ask("valkey what", control(line)))
    assert (head.status_code == 200) is stands_in


async def test_a_client_cannot_open_a_window_that_the_operator_has_closed() -> None:
    bench = await gone_stale(stale_if_error=0)
    head, _ = await read(await bench.ask("valkey what", control("stale-if-error=60, max-stale")))
    assert head.status_code == 503


async def test_everyone_who_waits_gets_what_he_may_have() -> None:
    bench = await gone_stale()
    statuses = await asyncio.gather(*(bench.status() for _ in range(5)))
    assert set(statuses) == {f"fwd=stale; fwd-status=503; {PLAIN}"}
    assert len(bench.upstream.requests) == 2


async def test_a_fresh_answer_stands_in_for_a_client_that_wanted_a_fresher_one() -> None:
    bench = await gone_stale()
    bench.clock.advance(-60)
    line = control("max-age=1, stale-if-error=60")
    expected = "fwd=request; fwd-status=503; ttl=50; detail=exact"
    assert await bench.status("valkey what", line) == expected


async def test_a_stream_that_breaks_off_before_its_first_byte_has_not_begun() -> None:
    bench = await gone_stale()
    bench.upstream.answer = lambda _: FakeResponse([UpstreamInterrupted("cut")], 200, [STREAM_TYPE])
    head, body = await read(await bench.ask(stream=True))
    assert head.cache_status.outcome == "STALE"
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("pieces", [[b"data: {}\n\n"], []])
async def test_a_stream_of_which_something_was_sent_breaks_off(pieces: list[bytes]) -> None:
    bench = await gone_stale()
    answer: list[bytes | Exception] = [*pieces, UpstreamInterrupted("cut")]
    bench.upstream.answer = lambda _: FakeResponse(answer, 200, [STREAM_TYPE])
    text = "valkey what" if pieces else "pasta how"
    arriving = await bench.ask(text, stream=True)
    with pytest.raises(UpstreamInterrupted):
        await read(arriving)


async def test_a_stream_goes_on_byte_for_byte_where_nothing_fails() -> None:
    bench = await gone_stale()
    pieces = [b"data: {}\n\n", b"data: [DONE]\n\n"]
    bench.upstream.answer = lambda _: FakeResponse(pieces, 200, [STREAM_TYPE])
    head, body = await read(await bench.ask(stream=True))
    assert (head.cache_status.forward, body) == ("stale", b"".join(pieces))


async def test_a_failing_store_leaves_the_error_to_the_client() -> None:
    bench = await gone_stale(store_timeout=0.01)
    bench.store.before = raising(RuntimeError())
    head, body = await read(await bench.ask())
    assert (head.status_code, body) == (503, ERROR)


async def test_an_answer_that_the_upstream_forbids_to_serve_stale_is_not_kept() -> None:
    bench = Bench(ttl=100, stale_if_error=60, stale_while_revalidate=60)
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"must-revalidate")]
    body = json.dumps(completion()).encode()
    bench.upstream.answer = lambda _: FakeResponse([body], headers=headers)
    await bench.status()
    bench.clock.advance(101)
    assert await bench.status() == "fwd=miss"


async def test_what_stands_in_is_not_stored_anew() -> None:
    bench = await gone_stale()
    await bench.status()
    await settle()
    (stored,) = (await bench.store.memory.scan("", 2)).entries
    assert stored.age(bench.clock.now) == 110


async def test_a_store_that_is_slow_or_left_alone_is_asked_again_when_nothing_else_answers() -> (
    None
):
    bench = await gone_stale(store_timeout=0.01)
    bench.store.before = hang
    for number in range(4):  # with three attempts each
        head, _ = await read(await bench.ask(f"topic{number} what"))
        assert head.status_code == 503
    looks = iter([hang, hang])

    async def recover() -> None:
        await next(looks, nothing)()

    bench.store.before = recover
    assert await bench.status() == f"fwd=stale; fwd-status=503; {PLAIN}"
