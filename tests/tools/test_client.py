"""The client of a proxy on this machine."""

import asyncio

import pytest

from app.tools.client import Client, Reply
from tests.servers import Setup


async def ask(url: str, *questions: str, **headers: str) -> list[Reply]:
    def work() -> list[Reply]:
        with Client(url) as client:
            return [client.ask(question, headers) for question in questions]

    return await asyncio.to_thread(work)


async def test_a_reply_tells_the_answer_and_how_it_came() -> None:
    setup = Setup()
    async with setup.run() as url:
        miss, exact, semantic = await ask(url, "Tell me", "Tell me", "Tell us")
    assert [miss.answer, exact.answer, semantic.answer] == ["Answer to Tell me"] * 3
    assert [miss.is_hit, exact.is_hit, semantic.is_hit] == [False, True, True]
    assert (miss.distance, exact.distance) == (None, None)
    assert 0 < float(semantic.distance or "") < 0.15
    assert miss.cache_status == "reprise; fwd=miss"
    assert exact.cache_status.startswith("reprise; hit; ")
    assert min(reply.seconds for reply in (miss, exact, semantic)) > 0


async def test_a_refusal_raises() -> None:
    async with Setup(api_keys="secret").run() as url:
        with pytest.raises(RuntimeError, match="401"):
            await ask(url, "Tell me")
        (reply,) = await ask(url, "Tell me", Authorization="Bearer secret")
    assert reply.answer == "Answer to Tell me"
