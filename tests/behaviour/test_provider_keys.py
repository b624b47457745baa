"""No key of one provider ever goes to the other's host."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.configuration import check
from app.core.errors import ConfigurationError
from tests.dialects.messages import message
from tests.fakes import completion, embeddings_json
from tests.servers import JSON_TYPE, Exchange, Setup, UpstreamApp, upstream_of

CHAT = {"model": "m", "messages": [{"role": "user", "content": "valkey what"}]}
MESSAGES = {**CHAT, "max_tokens": 9}
VERSION = {"anthropic-version": "2023-06-01"}
SECRETS = (b"sk-openai", b"sk-anthropic", b"key-1", b"sk-client")


async def either(exchange: Exchange) -> None:
    """Answer as either provider."""
    await exchange.read()
    if exchange.path.endswith(b"/messages"):
        await exchange.answer(message())
    elif exchange.path.endswith(b"/embeddings"):
        await exchange.start(200, JSON_TYPE)
        await exchange.write(embeddings_json(exchange))
        await exchange.end()
    elif exchange.path.endswith(b"/redirected"):
        await exchange.answer({}, 307, (b"location", b"https://elsewhere.example/v1"))
    else:
        await exchange.answer(completion("Hi"))


class Two:
    """A proxy before two upstreams."""

    def __init__(self, client: httpx.AsyncClient, setup: Setup, anthropic: UpstreamApp) -> None:
        self.client = client
        self.setup = setup
        self.openai = setup.upstream
        self.anthropic = anthropic

    def keys_at(self, upstream: UpstreamApp) -> list[bytes]:
        """Return the keys that an upstream has seen in any part of a request."""
        seen = b"".join(
            b"\n".join([e.path, e.query, e.body, *(value for _, value in e.headers)])
            for e in upstream.exchanges
        )
        return [secret for secret in SECRETS if secret in seen]


@asynccontextmanager
async def two(**settings: Any) -> AsyncIterator[Two]:
    anthropic = UpstreamApp(either)
    async with upstream_of(anthropic) as url:
        setup = Setup(anthropic_url=url.removesuffix("/v1"), **settings)
        setup.upstream.handler = either
        async with setup.run() as proxy, httpx.AsyncClient(base_url=proxy) as client:
            yield Two(client, setup, anthropic)


OPENAIS = {"upstream_api_key": "sk-openai"}
ANTHROPICS = {"anthropic_api_key": "sk-anthropic"}
KEYS = {"api_keys": "key-1"}


@pytest.mark.parametrize(
    ("settings", "key", "at_openai", "at_anthropic"),
    [
        ({}, "sk-client", [b"sk-client"], [b"sk-client"]),
        (OPENAIS, "sk-client", [b"sk-openai"], [b"sk-client"]),
        (ANTHROPICS, "sk-client", [b"sk-client"], [b"sk-anthropic"]),
        ({**OPENAIS, **ANTHROPICS}, "sk-client", [b"sk-openai"], [b"sk-anthropic"]),
        (KEYS, "key-1", [], []),
        ({**KEYS, **OPENAIS}, "key-1", [b"sk-openai"], []),
        ({**KEYS, **ANTHROPICS}, "key-1", [], [b"sk-anthropic"]),
        ({**KEYS, **OPENAIS, **ANTHROPICS}, "key-1", [b"sk-openai"], [b"sk-anthropic"]),
    ],
)
@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
async def test_each_host_sees_its_own_key_alone(
    settings: dict[str, Any], key: str, at_openai: Any, at_anthropic: Any, header: str
) -> None:
    headers = {header: f"Bearer {key}" if header == "authorization" else key, "Cookie": "a=1"}
    async with two(passthrough="on", **settings) as both:
        for path, body in (("chat/completions", CHAT), ("messages", MESSAGES)):
            for question in ("MISS", "HIT"):
                told = await both.client.post(path, json=body, headers=headers)
                assert told.headers["x-cache"] == question
        for path in ("messages/count_tokens", "messages/batches", "messages/redirected"):
            await both.client.post(path, json={}, headers={**headers, **VERSION})
        await both.client.get("models", headers={**headers, **VERSION})
        for path in ("models", "files", "redirected"):
            await both.client.get(path, headers=headers)
        assert both.keys_at(both.openai) == at_openai
        assert both.keys_at(both.anthropic) == at_anthropic
        assert [e.path for e in both.openai.exchanges] == [
            *(b"/v1/chat/completions", b"/v1/models", b"/v1/files", b"/v1/redirected"),
        ]
        assert [e.path for e in both.anthropic.exchanges] == [
            *(b"/v1/messages", b"/v1/messages/count_tokens", b"/v1/messages/batches"),
            *(b"/v1/messages/redirected", b"/v1/models"),
        ]
        for exchange in both.anthropic.exchanges:
            ours = [b"sk-anthropic"] if b"sk-anthropic" in at_anthropic else None
            assert ours is None or exchange.header(b"x-api-key") == ours
            assert ours is None or not exchange.header(b"authorization")
            assert not exchange.header(b"cookie") or key == "sk-client"


async def test_azures_header_does_not_go_to_anthropic() -> None:
    async with two() as both:
        headers = {"api-key": "sk-openai", "x-api-key": "sk-client"}
        await both.client.post("messages", json=MESSAGES, headers=headers)
        assert both.keys_at(both.anthropic) == [b"sk-client"]


@pytest.mark.parametrize(
    ("settings", "passthrough", "path", "method", "status_code"),
    [
        (ANTHROPICS, "auto", "messages", "POST", 200),
        (ANTHROPICS, "auto", "messages/count_tokens", "POST", 200),
        (ANTHROPICS, "auto", "models", "GET", 200),
        (ANTHROPICS, "auto", "messages/batches", "POST", 403),
        (ANTHROPICS, "auto", "messages/batches", "GET", 403),
        (ANTHROPICS, "auto", "messages/count_tokens", "GET", 403),
        (ANTHROPICS, "auto", "files", "GET", 403),
        (ANTHROPICS, "on", "messages/batches", "GET", 200),
        (ANTHROPICS, "off", "messages/count_tokens", "POST", 403),
        (ANTHROPICS, "off", "messages", "POST", 200),
        (OPENAIS, "auto", "messages/batches", "GET", 200),
        ({}, "auto", "messages/batches", "GET", 200),
        (KEYS, "auto", "messages/batches", "GET", 403),
    ],
)
async def test_other_routes_are_open_where_the_callers_own_key_goes(
    settings: dict[str, Any], passthrough: str, path: str, method: str, status_code: int
) -> None:
    async with two(passthrough=passthrough, **settings) as both:
        headers = {"x-api-key": "key-1", **VERSION}
        told = await both.client.request(method, path, json=MESSAGES, headers=headers)
        assert told.status_code == status_code
        assert len(both.anthropic.exchanges) == (status_code == 200)
        assert not both.openai.exchanges
        if status_code == 403:
            assert told.json()["error"]["type"] == "permission_error"


async def test_with_a_key_of_ours_openais_other_routes_stay_closed() -> None:
    async with two(**OPENAIS) as both:
        assert (await both.client.get("files")).status_code == 403


async def test_messages_are_not_embedded_with_a_key_that_is_not_the_upstreams() -> None:
    """The caller's key for Anthropic must not go to the upstream's `/embeddings`."""
    async with two(embedder="upstream", embedding_dimensions=4) as both:
        statuses = [
            (
                await both.client.post(
                    "messages",
                    json={**MESSAGES, "messages": [{"role": "user", "content": question}]},
                    headers={"x-api-key": "sk-client"},
                )
            ).headers["x-cache"]
            for question in ("valkey what", "valkey what", "valkey is what")
        ]
        assert statuses == ["MISS", "HIT", "MISS"]
        assert both.openai.exchanges == []
        await both.client.post("chat/completions", json=CHAT, headers={"api-key": "sk-openai"})
        assert {e.path for e in both.openai.exchanges} == {
            b"/v1/chat/completions",
            b"/v1/embeddings",
        }


async def test_messages_are_embedded_by_the_upstream_with_our_key_for_it() -> None:
    settings = {**OPENAIS, **ANTHROPICS, "embedder": "upstream", "embedding_dimensions": 4}
    async with two(**settings) as both:
        headers = {"x-api-key": "sk-client"}
        assert (await both.client.post("messages", json=MESSAGES, headers=headers)).is_success
        assert {e.path for e in both.openai.exchanges} == {b"/v1/embeddings"}
        assert both.keys_at(both.openai) == [b"sk-openai"]


async def test_without_a_url_messages_go_to_the_upstream_as_all_else_does() -> None:
    for settings, sent in ((OPENAIS, b"Bearer sk-openai"), ({}, b"Bearer sk-client")):
        setup = Setup(**settings)
        setup.upstream.handler = either
        async with setup.run() as url, httpx.AsyncClient(base_url=url) as client:
            headers = {"authorization": "Bearer sk-client"}
            assert (await client.post("messages", json=MESSAGES, headers=headers)).is_success
        assert setup.upstream.exchanges[0].header(b"authorization") == [sent]


async def test_a_key_without_a_url_goes_to_the_upstream_with_messages_alone() -> None:
    setup = Setup(**OPENAIS, **ANTHROPICS)
    setup.upstream.handler = either
    async with setup.run() as url, httpx.AsyncClient(base_url=url) as client:
        await client.post("messages", json=MESSAGES)
        await client.post("chat/completions", json=CHAT)
    first, second = setup.upstream.exchanges
    assert (first.header(b"x-api-key"), first.header(b"authorization")) == ([b"sk-anthropic"], [])
    assert (second.header(b"x-api-key"), second.header(b"authorization")) == (
        [],
        [b"Bearer sk-openai"],
    )


@pytest.mark.parametrize("url", ["", "https://api.openai.com/v1", "https://a.openai.azure.com"])
def test_a_key_for_anthropic_is_refused_before_openais_hosts(url: str) -> None:
    with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
        check(Setup(anthropic_url=url, **ANTHROPICS).settings)


def test_a_key_for_anthropic_is_for_this_machine_alone_unless_clients_have_keys() -> None:
    url = "https://api.anthropic.com"
    with pytest.raises(ConfigurationError, match="REPRISE_ANTHROPIC_API_KEY and no"):
        check(Setup(host="0.0.0.0", anthropic_url=url, **ANTHROPICS).settings)  # noqa: S104
    check(Setup(host="0.0.0.0", anthropic_url=url, **ANTHROPICS, **KEYS).settings)  # noqa: S104


async def test_web_pages_cannot_use_the_key_for_anthropic() -> None:
    async with two(**ANTHROPICS) as both:
        headers = {"Origin": "https://evil.test"}
        told = await both.client.post("messages", json=MESSAGES, headers=headers)
        assert (told.status_code, told.json()["type"]) == (403, "error")
        assert both.anthropic.exchanges == []


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com/", "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com/v1", "https://api.anthropic.com/v1"),
        ("https://gateway.example/anthropic", "https://gateway.example/anthropic/v1"),
        ("", ""),
    ],
)
def test_the_url_is_given_with_its_version_or_without(url: str, base: str) -> None:
    assert Setup(anthropic_url=url).settings.anthropic_upstream == base


async def test_what_was_answered_elsewhere_is_another_answer() -> None:
    """Entries outlive a change of the upstream's URL, but must not serve requests to a new URL."""
    async with two() as both:
        await both.client.post("messages", json=MESSAGES)
        other = Setup()
        other.upstream.handler = either
        other.store = both.setup.store
        async with other.run() as url, httpx.AsyncClient(base_url=url) as client:
            told = await client.post("messages", json=MESSAGES)
        assert told.headers["x-cache"] == "MISS"
