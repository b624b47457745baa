"""One upstream request, however many callers ask at the same time."""

import asyncio
import json
from typing import Any

import pytest

from app.core.cache_status import Head, Replay
from app.core.errors import UpstreamTimeout, UpstreamUnreachable
from app.core.models import ClientRequest, Header
from app.engine.forwarder import Forwarding
from app.rules.headers import cache_status_value
from tests.bench import Bench, gate, read, settle
from tests.fakes import (
    FakeResponse,
    hang,
)

STREAM_TYPE: Header = (b"content-type", b"text/event-stream")


async def test_concurrent_identical_misses_make_one_upstream_request() -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    tasks = [asyncio.create_task(bench.ask()) for _ in range(20)]
    await settle()
    opened.set()
    answers = [await read(await task) for task in tasks]
    assert len(bench.upstream.requests) == 1
    assert len({body for _, body in answers}) == 1
    statuses = sorted(cache_status_value(head.cache_status) for head, _ in answers)
    assert statuses == ["reprise; fwd=miss"] + ["reprise; fwd=miss; collapsed"] * 19
    assert bench.count("reprise_collapsed_requests_total") == 19
    assert len(bench.embedder.texts) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"text": "valkey why"},
        {"temperature": 0.5},
        {"headers": (b"authorization", b"Bearer 2")},
    ],
)
async def test_requests_of_another_kind_are_not_collapsed(other: dict[str, Any]) -> None:
    bench = Bench()
    _, bench.upstream.before = gate()
    text = other.pop("text", "valkey what")
    headers = [other.pop("headers")] if "headers" in other else []
    tasks = [
        asyncio.create_task(bench.status()),
        asyncio.create_task(bench.status(text, *headers, **other)),
    ]
    await settle()
    assert len(bench.upstream.requests) == 2
    for task in tasks:
        task.cancel()


async def test_neutral_differences_are_collapsed() -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    agents = [(b"user-agent", b"ann"), (b"user-agent", b"bob")]
    tasks = [asyncio.create_task(bench.status("valkey what", agent)) for agent in agents]
    await settle()
    opened.set()
    assert [await task for task in tasks] == ["fwd=miss", "fwd=miss; collapsed"]


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"a": "b"}},
        {"service_tier": "priority"},
        {"user": "ann"},
        {"safety_identifier": "ann"},
        {"prompt_cache_key": "a"},
    ],
)
async def test_who_may_be_treated_otherwise_joins_nobody_and_shares_the_answer(
    fields: dict[str, Any],
) -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    tasks = [asyncio.create_task(bench.status(**asked)) for asked in ({}, fields, fields)]
    await settle()
    opened.set()
    assert [await task for task in tasks] == ["fwd=miss", "fwd=miss", "fwd=miss; collapsed"]
    assert (await bench.status(**{**fields, "user": "bob"})).startswith("hit")
    assert len(bench.upstream.requests) == 2


@pytest.mark.parametrize("form", [{}, {"stream": True}])
@pytest.mark.parametrize("refusal", [400, 401, 429])
async def test_who_has_joined_a_request_that_is_refused_asks_anew_in_his_own_words(
    refusal: int, form: dict[str, Any]
) -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    answer = bench.upstream.answer

    def only_the_first(request: ClientRequest) -> FakeResponse:
        is_first = request is bench.upstream.requests[0]
        return FakeResponse([b'{"error":{}}'], refusal) if is_first else answer(request)

    bench.upstream.answer = only_the_first
    names = (b"a", b"b", b"c")
    asked = [({}, names[0]), (form, names[1]), (form, names[2])]

    async def ask(name: bytes, fields: dict[str, Any]) -> Head:
        return (await read(await bench.ask("valkey what", (b"user-agent", name), **fields)))[0]

    tasks = [asyncio.create_task(ask(name, fields)) for fields, name in asked]
    await settle()
    assert len(bench.upstream.requests) == 1
    opened_again, bench.upstream.before = gate()
    opened.set()
    await settle()
    opened_again.set()
    heads = [await task for task in tasks]
    assert [head.status_code for head in heads] == [refusal, 200, 200]
    assert [cache_status_value(head.cache_status) for head in heads] == ["reprise; fwd=miss"] * 3
    sent = [dict(request.headers)[b"user-agent"] for request in bench.upstream.requests]
    assert sorted(sent) == [*names]


async def test_the_first_client_may_leave_and_the_answer_is_stored() -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    first = asyncio.create_task(bench.status())
    await settle()
    second = asyncio.create_task(bench.status())
    await settle()
    first.cancel()
    await settle()
    opened.set()
    assert await second == "fwd=miss; collapsed"
    assert (await bench.status()).startswith("hit")
    assert len(bench.upstream.requests) == 1


async def test_when_the_last_client_leaves_the_upstream_is_released() -> None:
    bench = Bench()
    response = FakeResponse([b"a", b"b"])
    response.gate = lambda index: hang() if index else settle()
    bench.upstream.answer = lambda _: response
    answer = await bench.ask()
    assert not isinstance(answer, Replay | Forwarding)
    assert await anext(aiter(answer)) == b"a"
    await answer.aclose()
    await settle()
    assert response.closed


@pytest.mark.parametrize("error", [UpstreamUnreachable("down"), UpstreamTimeout("silent")])
async def test_an_upstream_failure_reaches_every_waiting_client(error: Exception) -> None:
    bench = Bench()
    opened, wait = gate()

    async def fail() -> None:
        await wait()
        raise error

    bench.upstream.before = fail
    tasks = [asyncio.create_task(bench.status()) for _ in range(3)]
    await settle()
    opened.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(error)] * 3
    assert len(bench.upstream.requests) == 1
    assert bench.count("reprise_failures_total", part="upstream") == 1


async def test_an_error_status_reaches_every_waiting_client() -> None:
    bench = Bench()
    opened, bench.upstream.before = gate()
    bench.upstream.answer = lambda _: FakeResponse([b'{"error":{}}'], 503)
    tasks = [asyncio.create_task(bench.ask()) for _ in range(3)]
    await settle()
    opened.set()
    heads = [(await read(await task))[0] for task in tasks]
    assert [head.status_code for head in heads] == [503] * 3
    assert len(bench.upstream.requests) == 1


async def test_a_late_loser_of_the_race_looks_again_and_hits() -> None:
    """Force the interleaving that `Proxy._find` describes."""
    bench = Bench()
    returned = asyncio.Event()
    real_get = bench.store.memory.get
    delayed = False

    async def get_with_a_slow_return(digest: str) -> Any:
        nonlocal delayed
        found = await real_get(digest)
        if not delayed and bench.slow:  # type: ignore[attr-defined]
            delayed = True
            await returned.wait()
        return found

    bench.store.memory.get = get_with_a_slow_return  # type: ignore[method-assign]
    bench.slow = True  # type: ignore[attr-defined]
    b = asyncio.create_task(bench.ask())  # 2. B finds nothing; its look-up is slow to come back
    await settle()
    bench.slow = False  # type: ignore[attr-defined]
    assert await bench.status() == "fwd=miss"  # 1. and 3. A asks, is answered, the flight ends
    await settle()
    returned.set()
    head, _ = await read(await b)  # 4. B finds no flight to join
    assert cache_status_value(head.cache_status) == "reprise; hit; ttl=3600; detail=exact"
    assert len(bench.upstream.requests) == 1


async def test_who_read_done_and_asks_again_hits_in_any_form() -> None:
    bench = Bench()
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": "Hi!"}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"total_tokens": 5}},
    ]
    pieces = [b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks]
    response = FakeResponse([*pieces, b"data: [DONE]\n\n", b""], headers=[STREAM_TYPE])
    response.gate = lambda index: hang() if index == 4 else settle()  # never closed
    bench.upstream.answer = lambda _: response
    opened, bench.store.before_put = gate()
    answer = await bench.ask(stream=True)
    assert not isinstance(answer, Replay)
    async for piece in answer:
        if b"[DONE]" in piece:
            break
    again = asyncio.create_task(bench.status("valkey what"))  # the store is still writing
    await settle()
    opened.set()
    assert (await again).startswith("hit")
    await answer.aclose()
