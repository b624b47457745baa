"""Streams from the store, at full speed and paced."""

import asyncio
import time

import httpx
import pytest

from tests.servers import Setup

DELAY_MS = 200


@pytest.mark.parametrize("delay", [0, DELAY_MS])
@pytest.mark.parametrize("again", ["valkey what", "valkey what is it"])
@pytest.mark.parametrize(("age", "outcome"), [(0, "HIT"), (3601, "STALE")])
async def test_a_replay_is_paced_if_that_is_wanted(
    delay: int, again: str, age: int, outcome: str
) -> None:
    setup = Setup(replay_chunk_delay_ms=delay, stale_while_revalidate=60)
    async with setup.run() as url, httpx.AsyncClient(base_url=url) as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "valkey what"}]}
        whole = await client.post("chat/completions", json=body)
        assert whole.headers["x-cache"] == "MISS"
        setup.clock.advance(age)
        body = {"model": "m", "messages": [{"role": "user", "content": again}]}
        begin = time.monotonic()
        told = await client.post("chat/completions", json={**body, "stream": True})
        took = time.monotonic() - begin
        assert told.headers["x-cache"] == outcome
        events = told.text.split("\n\n")
        assert len(events) == 5  # the role, the text, the finish reason, the end, nothing more
        assert (took >= 3 * DELAY_MS / 1000) is bool(delay)
        assert "Answer to valkey what" in told.text
        repeated = await client.post("chat/completions", json=body)
        told_whole = repeated.json()["choices"][0]["message"]
        assert told_whole["content"].startswith("Answer to valkey what")


async def test_a_client_that_leaves_a_paced_replay_ends_it() -> None:
    setup = Setup(replay_chunk_delay_ms=10_000)
    async with setup.run() as url, httpx.AsyncClient(base_url=url) as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "valkey what"}]}
        await client.post("chat/completions", json=body)
        async with client.stream("POST", "chat/completions", json={**body, "stream": True}) as told:
            assert await anext(told.aiter_raw())
        async with asyncio.timeout(5):
            while not setup.metrics.registry.get_sample_value(
                "reprise_requests_total",
                {"route": "chat_completions", "outcome": "HIT", "tier": "exact"},
            ):
                await asyncio.sleep(0)
