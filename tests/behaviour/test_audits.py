"""Audits on real sockets: whose key goes upstream, and the results that an operator sees."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.behaviour.test_stale import chat
from tests.fakes import completion
from tests.servers import Exchange, Setup, UpstreamApp, upstream_of

TOKEN = "s3cret"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
ANN = {"authorization": "Bearer sk-ann", "x-cache-namespace": "team a"}


class Saying:
    """An upstream that answers the first request in one way and others in another."""

    def __init__(self, first: str, other: str) -> None:
        self.answers = [first]
        self.other = other

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.read()
        answer = self.answers.pop() if self.answers else self.other
        await exchange.answer(completion(answer))


@asynccontextmanager
async def client_of(**settings: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Setup]]:
    setup = Setup(admin_token=TOKEN, audit_rate=1.0, upstream_api_key="sk-ours", **settings)
    setup.upstream.handler = Saying("It is 3.", "It is 4.")
    async with setup.run() as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield client, setup


async def stats_of(client: httpx.AsyncClient) -> Any:
    return (await client.get("../cache/stats", headers=ADMIN)).json()


async def until_audited(client: httpx.AsyncClient, count: int) -> Any:
    """Wait until `count` hits were compared with the upstream's answers."""
    async with asyncio.timeout(10):
        while True:
            told = (await stats_of(client))["audit"]
            if told["exact"]["of"] + told["semantic"]["of"] >= count:
                return told


@pytest.mark.parametrize("keys", [(), ("sk-ann",)])
async def test_the_upstream_is_asked_with_our_key_and_an_operator_is_told(keys: Any) -> None:
    async with client_of(api_keys=keys) as (client, setup):
        for text in ("valkey what", "valkey is what", "valkey what"):
            response = await client.post("chat/completions", json=chat(text), headers=ANN)
            assert response.json()["choices"][0]["message"]["content"] == "It is 3."
        told = await until_audited(client, 2)
        assert [e.header(b"authorization") for e in setup.upstream.exchanges] == [
            [b"Bearer sk-ours"]
        ] * 3
        assert (told["rate"], told["caution"]) == (1.0, 0)
        assert (told["semantic"]["wrong"], told["exact"]["wrong"]) == (1, 1)
        assert told["semantic"]["low"] < told["semantic"]["share"] <= told["semantic"]["high"]
        assert set(told["by_namespace"]) == {"team a"}
        assert sum(share["of"] for share in told["by_distance"].values()) == 1
        metrics = (await client.get("../metrics")).text
        assert 'reprise_audit_wrong{bound="value",tier="semantic"} 1.0' in metrics
        assert "team a" not in metrics


async def answer_message(exchange: Exchange) -> None:
    await exchange.read()
    text = [{"type": "text", "text": "It is 3."}]
    usage = {"input_tokens": 3, "output_tokens": 2}
    told = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    await exchange.answer({**told, "content": text, "stop_reason": "end_turn", "usage": usage})


@pytest.mark.parametrize("key", ["", "sk-ours-too"])
async def test_what_goes_elsewhere_is_audited_only_with_our_key_for_it(key: str) -> None:
    anthropic, given = UpstreamApp(answer_message), {"anthropic_api_key": key} if key else {}
    async with (
        upstream_of(anthropic) as url,
        client_of(anthropic_url=url, **given) as (client, setup),
    ):
        body = {**chat("valkey what"), "max_tokens": 9}
        headers = {"x-api-key": "sk-ann"}
        told = [await client.post("messages", json=body, headers=headers) for _ in range(2)]
        assert [answer.headers["x-cache"] for answer in told] == ["MISS", "HIT"]
        if key:
            await until_audited(client, 1)
        assert len(anthropic.exchanges) == (2 if key else 1)
        assert setup.upstream.exchanges == []
    sent = [exchange.header(b"x-api-key") for exchange in anthropic.exchanges]
    assert sent == ([[key.encode()]] * 2 if key else [[b"sk-ann"]])
