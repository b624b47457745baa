"""A question costs a caller as much time and work as if no other caller had asked it before."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.upstream.simulated_embeddings import answer_embeddings
from tests.servers import Exchange, Setup, echo

A, B = "Bearer a", "Bearer b"
TEXT = "valkey what is it"
INPUT = {"model": "m", "input": TEXT}


def chat(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


@asynccontextmanager
async def client_of(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    async with setup.run() as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
        yield client


async def ask(
    client: httpx.AsyncClient, text: str, bearer: str, body: Any = (), **headers: str
) -> httpx.Response:
    sent = {"Authorization": bearer, **headers}
    return await client.post("chat/completions", json=chat(text, **dict(body)), headers=sent)


async def probe(client: httpx.AsyncClient, text: str, bearer: str, **options: Any) -> None:
    """Ask with `only-if-cached`, and check that no answer is stored."""
    response = await ask(client, text, bearer, **{"Cache-Control": "only-if-cached"}, **options)
    assert response.status_code == 504


async def test_what_another_credential_asked_is_embedded_again_for_a_probe() -> None:
    setup = Setup()
    async with client_of(setup) as client:
        await ask(client, TEXT, A)
        await probe(client, TEXT, B)
        assert setup.embedder.texts == [TEXT] * 2


@pytest.mark.parametrize(
    ("settings", "one", "other"),
    [
        ({"isolation": "user"}, {"body": {"user": "ann"}}, {"body": {"user": "bob"}}),
        ({}, {"x-cache-namespace": "ann"}, {"x-cache-namespace": "bob"}),
        ({}, {"Cookie": "session=ann"}, {"Cookie": "session=bob"}),
        ({"isolation": "shared"}, {"x-cache-namespace": "ann"}, {"x-cache-namespace": "bob"}),
    ],
)
async def test_whatever_parts_callers_parts_what_is_known_of_their_texts(
    settings: dict[str, Any], one: dict[str, Any], other: dict[str, Any]
) -> None:
    setup = Setup(**settings)
    async with client_of(setup) as client:
        await ask(client, TEXT, A, **one)
        await probe(client, TEXT, A, **other)
        assert setup.embedder.texts == [TEXT] * 2


async def test_a_probe_takes_as_long_as_if_nobody_had_asked() -> None:
    least = 0.02  # seconds that an embedding takes
    setup = Setup()

    async def work() -> None:
        await asyncio.sleep(least)

    setup.embedder.before = work
    texts = [f"text{number} of a tenant" for number in range(10)]
    took = []
    async with client_of(setup) as client:
        for text in texts:
            await ask(client, text, A)
        for text in texts:
            begin = time.perf_counter()
            await probe(client, text, B)
            took.append(time.perf_counter() - begin)
    assert min(took) >= least


async def test_what_a_caller_asks_again_is_not_embedded_again() -> None:
    setup = Setup()
    async with client_of(setup) as client:
        for bearer in (A, B):
            await probe(client, TEXT, bearer)
            await probe(client, TEXT, bearer)
        assert setup.embedder.texts == [TEXT] * 2


@pytest.mark.parametrize(("isolation", "pairs"), [("credential", 2), ("shared", 1)])
async def test_a_pair_is_verified_again_for_another_caller(isolation: str, pairs: int) -> None:
    setup = Setup(verifier="on", guards="off", isolation=isolation)
    setup.verifier.answer = lambda _: 0.0
    async with client_of(setup) as client:
        for bearer in (A, B):
            await ask(client, "valkey what", bearer)
            await probe(client, "valkey what is", bearer)
        asked = [(text, c.text) for text, given in setup.verifier.asked for c in given]
    assert asked == [("valkey what is", "valkey what")] * pairs


async def embedding(exchange: Exchange) -> None:
    """Answer as the simulated upstream does, but over HTTP."""
    body = await exchange.read()
    if exchange.path.endswith(b"/embeddings"):
        await exchange.answer(answer_embeddings(body))
    else:
        await echo(exchange)


@pytest.mark.parametrize(
    ("settings", "paid_by"),
    [
        ({}, [A, B]),
        ({"isolation": "user"}, [A, B]),
        ({"isolation": "shared"}, [A, B]),
        ({"upstream_api_key": "ours"}, ["Bearer ours"] * 2),
        ({"upstream_api_key": "ours", "isolation": "shared"}, ["Bearer ours"]),
    ],
)
async def test_nobody_uses_an_embedding_that_another_credential_has_paid_for(
    settings: dict[str, Any], paid_by: list[str]
) -> None:
    setup = Setup(embedder="upstream", **settings)
    setup.upstream.handler = embedding
    async with client_of(setup) as client:
        for bearer in (A, B, A, B):
            await probe(client, "What is Valkey?", bearer)
    exchanges = [e for e in setup.upstream.exchanges if e.path.endswith(b"/embeddings")]
    assert [e.header(b"authorization")[0].decode() for e in exchanges] == paid_by


async def test_an_embedding_that_is_being_made_is_not_waited_for_by_another_caller() -> None:
    setup = Setup()
    both, gate = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        if len(setup.embedder.texts) == 2:
            both.set()
        await gate.wait()

    setup.embedder.before = wait
    async with client_of(setup) as client, asyncio.timeout(5):
        asking = [asyncio.create_task(probe(client, TEXT, bearer)) for bearer in (A, B)]
        await both.wait()
        gate.set()
        await asyncio.gather(*asking)
    assert setup.embedder.texts == [TEXT] * 2


WHO = [
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Access-Token",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Tls-Client-Cert",
    "X-Auth-Request-User",
]


@pytest.mark.parametrize("header", WHO)
@pytest.mark.parametrize("settings", [{}, {"api_keys": "gateway"}, {"isolation": "shared"}])
async def test_whom_a_gateway_asks_for_is_told_apart(header: str, settings: dict[str, Any]) -> None:
    setup = Setup(**settings)
    setup.upstream.handler = embedding
    async with client_of(setup) as client:
        for name, expected in (("alice", "MISS"), ("bob", "MISS"), ("alice", "HIT")):
            for path, body in (("chat/completions", chat(TEXT)), ("embeddings", INPUT)):
                sent = {"Authorization": "Bearer gateway", header: name}
                response = await client.post(path, json=body, headers=sent)
                assert response.headers["x-cache"] == expected


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Proto", "Accept-Language"])
async def test_how_a_request_came_parts_nobody_unless_the_operator_says_so(header: str) -> None:
    for settings, expected in (({}, "HIT"), ({"key_headers": f"X-Else, {header}"}, "MISS")):
        async with client_of(Setup(**settings)) as client:
            await ask(client, TEXT, A, **{header: "one"})
            response = await ask(client, TEXT, A, **{header: "another"})
            assert response.headers["x-cache"] == expected


ADDED = [
    *("sec-fetch-mode", "cf-ray", "cf-connecting-ip", "x-real-ip", "true-client-ip", "forwarded"),
    *("via", "x-amz-cf-id", "x-vercel-id", "fly-request-id", "x-azure-ref", "request-id"),
    *("x-trace-id", "elastic-apm-traceparent", "newrelic", "x-envoy-attempt-count"),
    *("x-request-start", "langsmith-trace", "sw8", "referer", "priority", "dnt", "pragma"),
]


async def test_what_edges_and_runtimes_add_parts_nobody() -> None:
    async with client_of(Setup()) as client:
        await ask(client, TEXT, A)
        for number, name in enumerate(ADDED):
            response = await ask(client, TEXT, A, **{name: f"value-{number}"})
            assert (name, response.headers["x-cache"]) == (name, "HIT")


async def test_a_balancers_new_cookie_for_each_answer_parts_nobody() -> None:
    setup = Setup()
    number = iter(range(9))

    async def balanced(exchange: Exchange) -> None:
        cookie = f"AWSALB=server-{next(number)}; Path=/"
        choice = {"index": 0, "message": {"role": "assistant", "content": "a"}}
        document = {"model": "m", "choices": [{**choice, "finish_reason": "stop"}]}
        await exchange.answer(document, 200, (b"set-cookie", cookie.encode()))

    setup.upstream.handler = balanced
    async with client_of(setup) as client:  # which sends back the cookies that it gets
        for text, expected in ((TEXT, "MISS"), ("Else?", "MISS"), (TEXT, "HIT"), ("Else?", "HIT")):
            response = await ask(client, text, A)
            assert response.headers["x-cache"] == expected
    assert next(number) == 2


@pytest.mark.parametrize("name", ["baggage", "tracestate", "X-Forwarded-Host", "Authorization"])
async def test_key_headers_beat_every_list(name: str) -> None:
    setup = Setup(key_headers=name, ignored_headers=name, isolation="shared")
    async with client_of(setup) as client:
        for value in ("a", "b"):
            sent = {"Authorization": "Bearer gateway", name: f"Bearer {value}"}
            response = await client.post("chat/completions", json=chat(TEXT), headers=sent)
            assert response.headers["x-cache"] == "MISS"


@pytest.mark.parametrize(
    ("settings", "headers", "warns"),
    [
        ({"host": "192.0.2.1"}, {}, True),
        ({"host": "192.0.2.1"}, {"X-Forwarded-For": "10.0.0.1", "OpenAI-Beta": "x"}, True),
        ({"host": "192.0.2.1", "isolation": "user"}, {}, True),
        ({"host": "192.0.2.1"}, {"Authorization": A}, False),
        ({"host": "192.0.2.1"}, {"X-Forwarded-User": "ann"}, False),
        ({"host": "192.0.2.1"}, {"X-Tenant": "ann"}, False),
        ({"host": "192.0.2.1"}, {"X-Shop": "ann"}, True),
        ({"host": "192.0.2.1", "key_headers": "x-shop"}, {"X-Shop": "ann"}, False),
        ({"host": "192.0.2.1", "api_keys": "a"}, {"Authorization": A}, False),
        ({}, {}, False),
    ],
)
async def test_strangers_who_share_on_an_open_host_bring_one_warning(
    settings: dict[str, Any], headers: dict[str, str], warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    setup = Setup(**settings)
    setup.upstream.handler = embedding
    async with client_of(setup) as client:
        for _ in range(2):
            await client.post("chat/completions", json=chat(TEXT), headers=headers)
            await client.post("embeddings", json=INPUT, headers=headers)
    warnings = [line for line in caplog.messages if "REPRISE_KEY_HEADERS" in line]
    assert len(warnings) == warns
