"""However the cache fails, the client gets the upstream's answer. Headers name the failure."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from app.core.models import CacheKey, Candidate, Embedding, StoredResponse
from tests.behaviour.test_streams import DONE, FINISH, event
from tests.bench import gate
from tests.fakes import FakeStore, ManualClock, embedding_of, hang
from tests.servers import JSON_TYPE, STREAM_TYPE, Exchange, Setup, echo

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "valkey what"}]}
SECRET = "terces-ks"[::-1]  # not as it stands in the source, which a traceback shows
TOKEN = "admin-token"
FOREIGN = StoredResponse(CacheKey("p", "d", "t"), "m", b'{"choices":[]}', 1.7e9, 3600.0)


async def fail() -> None:
    raise RuntimeError("sk-secret and a prompt")


def store_raises(setup: Setup) -> None:
    setup.store.before = fail


def store_hangs(setup: Setup) -> None:
    setup.store.before = hang


def store_gives_another_callers_entry(setup: Setup) -> None:
    setup.store.got = FOREIGN


def store_gives_nonsense(setup: Setup) -> None:
    setup.store.got = "nonsense"


def store_finds_another_callers_entry(setup: Setup) -> None:
    setup.store.found = [Candidate(FOREIGN, 0.01)]


def store_finds_nonsense(setup: Setup) -> None:
    setup.store.found = [None]


def embedder_raises(setup: Setup) -> None:
    setup.embedder.before = fail


def embedder_hangs(setup: Setup) -> None:
    setup.embedder.before = hang


def embedder_gives_nan(setup: Setup) -> None:
    def nan(_: str) -> Embedding:
        return np.full(8, np.nan, np.float32)

    setup.embedder.answer = nan


def embedder_gives_another_shape(setup: Setup) -> None:
    setup.embedder.answer = lambda text: embedding_of(text)[:4]


@asynccontextmanager
async def client_of(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    async with setup.run() as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
        yield client


def failures(setup: Setup, part: str) -> float:
    value = setup.metrics.registry.get_sample_value("reprise_failures_total", {"part": part})
    return value or 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("trouble", "part"),
    [
        (store_raises, "store"),
        (store_hangs, "store"),
        (store_gives_another_callers_entry, "store"),
        (store_gives_nonsense, "store"),
        (store_finds_another_callers_entry, "store"),
        (store_finds_nonsense, "store"),
        (embedder_raises, "embedder"),
        (embedder_hangs, "embedder"),
        (embedder_gives_nan, "embedder"),
        (embedder_gives_another_shape, "embedder"),
    ],
)
async def test_a_failing_part_is_a_miss_that_says_so(
    trouble: Any, part: str, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    setup = Setup(store_timeout=0.05, embedder_timeout=0.05)
    body = b'{"choices" : [] }'

    async def answer(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, JSON_TYPE)
        await exchange.write(body)
        await exchange.end()

    setup.upstream.handler = answer
    trouble(setup)
    async with client_of(setup) as client:
        response = await client.post("chat/completions", json={**CHAT, "stream": stream})
    assert (response.status_code, response.content) == (200, body)
    assert response.headers["cache-status"] == f"reprise; fwd=miss; detail={part}-unavailable"
    assert response.headers["x-cache"] == "MISS"
    assert failures(setup, part) >= 1
    assert "sk-secret" not in caplog.text


async def test_a_part_that_hangs_is_soon_left_alone() -> None:
    setup = Setup(store_timeout=0.05)
    setup.store.before = hang
    async with client_of(setup) as client:
        for number in range(20):
            body = {"model": "m", "messages": [{"role": "user", "content": str(number)}]}
            assert (await client.post("chat/completions", json=body)).is_success
        assert setup.store.calls.count("get") == 5
        ready = await client.get("../readyz")
        assert (ready.status_code, ready.json()["degraded"]) == (200, ["store"])


class Unreadable(str):
    """A text that raises an error when it is read."""

    __slots__ = ()

    def isascii(self) -> bool:
        raise RuntimeError(SECRET)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_defect_in_judging_an_answer_costs_a_hit_and_no_answer(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    setup = Setup(store_timeout=30.0)  # the gate must not count as a slow store
    other = {**CHAT, "messages": [{"role": "user", "content": "valkey why"}], "stream": stream}
    async with client_of(setup) as client:
        await client.post("chat/completions", json=CHAT)
        (stored,) = (await setup.store.memory.scan("", 10)).entries
        key = replace(stored.key, text=Unreadable("valkey who"))
        setup.store.found = [Candidate(replace(stored, key=key), 0.01)]
        arrived, setup.store.before = gate()
        setup.store.calls.clear()
        asking = [asyncio.create_task(client.post("chat/completions", json=other)) for _ in "12345"]
        while setup.store.calls.count("get") < len(asking):
            await asyncio.sleep(0.001)
        arrived.set()
        responses = [await task for task in asking]
    for response in responses:
        assert (response.status_code, response.headers["x-cache"]) == (200, "MISS")
        assert response.headers["cache-status"].endswith("detail=defect")
        assert "Answer to valkey why" in response.text
    assert len(setup.upstream.exchanges) == 2
    assert "defect: RuntimeError" in caplog.text
    assert SECRET not in caplog.text


class Breaking(ManualClock):
    """A clock that fails when a test tells it to."""

    is_broken = False

    def __call__(self) -> float:
        if self.is_broken:
            raise RuntimeError(SECRET)
        return super().__call__()


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_defect_in_keeping_an_answer_costs_the_client_nothing(
    is_streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    setup = Setup()
    setup.clock = clock = Breaking()

    async def answer(exchange: Exchange) -> None:
        clock.is_broken = True
        if not is_streamed:
            await echo(exchange)
            return
        await exchange.start(200, STREAM_TYPE)
        for piece in (event(0), event(1), FINISH, DONE):
            await exchange.write(piece)
        await exchange.end()

    setup.upstream.handler = answer
    setup.store.memory = FakeStore(ManualClock()).memory
    async with client_of(setup) as client:
        response = await client.post("chat/completions", json={**CHAT, "stream": is_streamed})
        clock.is_broken = False
    assert response.status_code == 200
    assert response.content.endswith(DONE if is_streamed else b"}")
    assert len(setup.upstream.exchanges) == 1
    assert "defect: RuntimeError" in caplog.text


async def test_a_defect_leaves_a_log_line_without_content(caplog: pytest.LogCaptureFixture) -> None:
    setup = Setup(admin_token=TOKEN)

    def clock() -> float:
        raise RuntimeError(SECRET)

    setup.clock = clock  # type: ignore[assignment]
    setup.store.memory = FakeStore(ManualClock()).memory
    async with client_of(setup) as client:
        answer = await client.post("chat/completions", json=CHAT)
        token = {"Authorization": f"Bearer {TOKEN}"}
        response = await client.post("../cache/explain", json=CHAT, headers=token)
    assert (answer.status_code, answer.headers["x-cache"]) == (200, "BYPASS")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "defect: RuntimeError" in caplog.text
    assert "in clock" in caplog.text  # where it happened
    assert SECRET not in caplog.text + response.text


async def test_a_part_that_recovers_is_used_again() -> None:
    setup = Setup()
    setup.embedder.before = fail
    async with client_of(setup) as client:
        detail = "reprise; fwd=miss; detail=embedder-unavailable"
        assert (await client.post("chat/completions", json=CHAT)).headers["cache-status"] == detail
        setup.embedder.before = None
        other = {**CHAT, "messages": [{"role": "user", "content": "valkey why"}]}
        similar = {**CHAT, "messages": [{"role": "user", "content": "valkey but why"}]}
        answer = await client.post("chat/completions", json=other)
        assert answer.headers["cache-status"] == "reprise; fwd=miss"
        assert (await client.post("chat/completions", json=similar)).headers["x-cache"] == "HIT"


@pytest.mark.parametrize("path", ["chat/completions", "audio/speech"])
async def test_a_dead_upstream_is_a_502_in_openais_shape(path: str) -> None:
    async with (
        Setup().run_before("http://127.0.0.1:1/v1") as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        response = await client.post(path, json=CHAT)
    assert response.status_code == 502
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.json()["error"]["code"] == "upstream_unreachable"


@pytest.mark.parametrize("path", ["chat/completions", "audio/speech"])
async def test_a_silent_upstream_is_a_504_in_openais_shape(path: str) -> None:
    setup = Setup(upstream_timeout=0.05)
    setup.upstream.handler = lambda exchange: exchange.disconnected()
    async with client_of(setup) as client:
        response = await client.post(path, json=CHAT)
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "upstream_timeout"
    assert response.json()["error"]["type"] == "server_error"
    assert failures(setup, "upstream") == 1
