"""Behaviour that is the same for every API that is cached by meaning, on real sockets."""

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import httpx
import pytest

from tests.behaviour.every_dialect import APIS, Answering, Api, ask, outcome
from tests.behaviour.every_store import ADMIN, TOKEN, client_of
from tests.behaviour.test_streams import collapsed
from tests.behaviour.test_valkey import setup_on
from tests.servers import JSON_TYPE, Exchange, Setup, upstream_of
from tests.valkey.server import stand_in

QUESTION, PARAPHRASE = "valkey what", "valkey is what"
STREAMED = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> Api:
    return APIS[request.param]


@pytest.fixture
def upstream(api: Api) -> Answering:
    return Answering(api)


@pytest.fixture
def setup(upstream: Answering) -> Setup:
    setup = Setup(admin_token=TOKEN, ttl=100, stale_while_revalidate=50, stale_if_error=500)
    setup.upstream.handler = upstream
    return setup


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(setup) as client:
        yield client


@asynccontextmanager
async def before(setup: Setup, upstream: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run a proxy in front of an upstream, and yield a client of the proxy's root."""
    async with setup.run_before(upstream) as url:
        root = url.removesuffix("/v1")
        async with httpx.AsyncClient(base_url=root, headers=ADMIN, timeout=10) as client:
            yield client


def streamed(client: httpx.AsyncClient, api: Api) -> AbstractAsyncContextManager[httpx.Response]:
    """Ask for a stream."""
    return client.stream("POST", f"/v1/{api.path}", json=api.body(QUESTION, stream=True))


async def take(client: httpx.AsyncClient, api: Api, received: io.BytesIO) -> None:
    """Ask for a stream, and write its bytes to `received`, even if the stream is cut off."""
    async with streamed(client, api) as response:
        async for piece in response.aiter_raw():
            received.write(piece)


async def drained(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def test_who_asks_the_same_meanwhile_follows_from_the_first_byte(
    client: httpx.AsyncClient, setup: Setup, api: Api, upstream: Answering
) -> None:
    upstream.before = 3
    upstream.go_on.clear()
    async with asyncio.timeout(10), AsyncExitStack() as stack:
        bodies = []
        for number in range(2):
            response = await stack.enter_async_context(streamed(client, api))
            assert ("collapsed" in response.headers["cache-status"]) is bool(number)
            pieces = response.aiter_raw()
            bodies.append((await anext(pieces), pieces))  # while the rest is still to come
        whole = asyncio.create_task(ask(client, api))
        await collapsed(setup, 2)
        upstream.go_on.set()
        one, other = [first + await drained(rest) for first, rest in bodies]
        waited = await whole
    assert len(upstream.asked) == 1
    assert one == other == upstream.streamed
    text = api.text(one)
    assert (waited.json()["id"] == "upstream_1") is (api is APIS["responses-kept"])
    assert api.text(waited.content) == text
    for stream in (False, True):
        again = await ask(client, api, stream=stream)
        assert (again.headers["x-cache"], api.text(again.content)) == ("HIT", text)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_stream_that_does_not_come_to_its_end_is_never_stored(
    client: httpx.AsyncClient, setup: Setup, api: Api, upstream: Answering, fails: bool
) -> None:
    for before in range(len(api.events("Answer one.", "upstream_1")) - 2):
        upstream.before, upstream.instead = before, api.error if fails else b""
        received = io.BytesIO()
        with pytest.raises(httpx.RemoteProtocolError):
            await take(client, api, received)
        assert received.getvalue().endswith(upstream.instead)
    assert "put" not in setup.store.calls
    upstream.instead = None
    assert [await outcome(client, api) for _ in range(2)] == ["MISS", "HIT"]


@STREAMED
async def test_a_stale_answer_serves_while_a_newer_one_is_fetched(
    client: httpx.AsyncClient, setup: Setup, api: Api, stream: bool
) -> None:
    first = api.text((await ask(client, api)).content)
    setup.clock.advance(120)
    stale = await ask(client, api, stream=stream)
    assert (stale.headers["x-cache"], stale.headers["age"]) == ("STALE", "120")
    assert api.text(stale.content) == first
    async with asyncio.timeout(5):
        while (newer := await ask(client, api)).headers["x-cache"] != "HIT":
            await asyncio.sleep(0.001)
    assert api.text(newer.content) == first.replace("Answer 1", "Answer 2")
    assert len(setup.upstream.exchanges) == 2


@STREAMED
@pytest.mark.parametrize("status", [429, 503, 529])
async def test_a_stale_answer_stands_in_for_an_upstream_that_fails(
    client: httpx.AsyncClient, setup: Setup, api: Api, stream: bool, status: int
) -> None:
    first = api.text((await ask(client, api)).content)

    async def fail(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.answer({"type": "error", "error": {"message": "No."}}, status)

    setup.upstream.handler = fail
    setup.clock.advance(300)
    stale = await ask(client, api, stream=stream)
    assert (stale.status_code, stale.headers["x-cache"]) == (200, "STALE")
    assert api.text(stale.content) == first
    other = await ask(client, api, "pasta how", stream=stream)
    assert (other.status_code, other.json()["error"]) == (status, {"message": "No."})


async def test_only_what_is_stored_is_answered_to_those_who_want_nothing_else(
    client: httpx.AsyncClient, api: Api, upstream: Answering
) -> None:
    wish = {"cache-control": "only-if-cached"}
    refused = await ask(client, api, headers=wish)
    assert (refused.status_code, refused.headers["x-should-retry"]) == (504, "false")
    told = refused.json()
    kind = told["error"]["type"] if api.name == "message" else told["error"]["code"]
    assert kind == ("timeout_error" if api.name == "message" else "not_cached")
    assert (told.get("type") == "error") is (api.name == "message")
    assert [await outcome(client, api) for _ in range(2)] == ["MISS", "HIT"]
    assert await outcome(client, api, headers=wish) == "HIT"
    for wish in ({"cache-control": "no-cache"}, {"cache-control": "no-store"}):
        assert await outcome(client, api, headers=wish) in {"MISS", "BYPASS"}
    assert len(upstream.asked) == 3


async def test_operators_list_explain_purge_and_carry_what_is_stored(
    client: httpx.AsyncClient, setup: Setup, api: Api, upstream: Answering
) -> None:
    tagged = {"x-cache-tags": "a, b"}
    assert await outcome(client, api, headers=tagged) == "MISS"
    assert await outcome(client, api, headers={"x-cache-tags": "b"}) == "HIT"
    assert await outcome(client, api, "pasta how") == "MISS"
    listed = (await client.get("/cache/entries", params={"tag": "a"})).json()["entries"]
    assert [(e["dialect"], e["model"]) for e in listed] == [(api.name, "m")]
    assert listed[0]["prompt"] == (QUESTION if api.by_meaning else None)
    headers = {name.decode(): value.decode() for name, value in upstream.asked[0].headers}
    asked = {"request": api.body(QUESTION), "route": f"/v1/{api.path}"}
    told = await client.post("/cache/explain", json={**asked, "headers": headers})
    assert (told.json()["outcome"], told.json()["tier"]) == ("HIT", "exact"), told.text
    exported = (await client.get("/cache/export")).content
    about = {"about": "pasta how", "max_distance": 0.1}
    near = (await client.post("/cache/purge", json=about)).json()["purged"]
    assert near == (1 if api.by_meaning else 0)
    assert (await client.post("/cache/purge", json={"tag": "a"})).json()["purged"] == 1
    assert await outcome(client, api, headers={"cache-control": "no-store"}) == "BYPASS"
    imported = await client.post("/cache/import", content=exported)
    assert imported.json()["imported"] == 1 + near, imported.text
    for question in (QUESTION, *([PARAPHRASE] if api.by_meaning else [])):
        assert await outcome(client, api, question, stream=True) == "HIT"
    assert setup.metrics.requests.labels(api.route, "MISS", "")._value.get() == 2


@STREAMED
async def test_an_answer_that_is_compressed_nevertheless_is_stored(
    client: httpx.AsyncClient, setup: Setup, api: Api, stream: bool
) -> None:
    async def compress(exchange: Exchange) -> None:
        await exchange.read()
        events = api.events("Answer one.", "upstream_1")
        whole = [json.dumps(api.whole("Answer one.", "upstream_1")).encode()]
        body = gzip.compress(b"".join(events if exchange.document.get("stream") else whole))
        kind = (b"content-type", b"text/event-stream") if stream else JSON_TYPE
        await exchange.start(200, kind, (b"content-encoding", b"gzip"))
        await exchange.write(body)
        await exchange.end()

    setup.upstream.handler = compress
    identity = {"accept-encoding": "identity"}
    assert await outcome(client, api, stream=stream, headers=identity) == "MISS"
    assert await outcome(client, api, stream=not stream) == "HIT"


async def test_cookies_that_balance_load_and_sdks_headers_share(
    client: httpx.AsyncClient, api: Api
) -> None:
    for number in range(3):
        headers = {
            "cookie": f"AWSALB=v{number}; __cf_bm=w{number}",
            "x-stainless-retry-count": str(number),
            "user-agent": f"sdk/{number}",
            "traceparent": f"00-{number}",
        }
        expected = "HIT" if number else "MISS"
        assert await outcome(client, api, headers=headers) == expected
    assert await outcome(client, api, headers={"cookie": "session=1"}) == "MISS"
    assert await outcome(client, api, headers={"authorization": "Bearer other"}) == "MISS"


async def test_prefixes_lead_to_the_same_api_and_are_keyed_apart(
    client: httpx.AsyncClient, setup: Setup, api: Api
) -> None:
    paths = [f"/v1/{api.path}", f"/openai/v1/{api.path}", f"/{api.path}"]
    if api.name == "response":
        paths.append(f"/openai/{api.path}?api-version=2025-04-01-preview")
    for expected in ("MISS", "HIT"):
        for path in paths:
            answer = await client.post(path, json=api.body(QUESTION))
            assert (answer.status_code, answer.headers["x-cache"]) == (200, expected), path
    assert setup.metrics.requests.labels(api.route, "MISS", "")._value.get() == len(paths)


@pytest.mark.valkey
@STREAMED
async def test_two_proxies_on_one_valkey_share_answers(
    api: Api, upstream: Answering, stream: bool
) -> None:
    async with stand_in() as valkey, AsyncExitStack() as stack:
        setups = [setup_on(valkey, fleet_collapse_wait=5) for _ in range(2)]
        setups[0].upstream.handler = upstream
        url = await stack.enter_async_context(upstream_of(setups[0].upstream))
        first, second = [await stack.enter_async_context(before(s, url)) for s in setups]
        upstream.go_on.clear()
        upstream.before = 1
        leading = asyncio.create_task(ask(first, api, stream=True))
        async with asyncio.timeout(10):
            while not upstream.asked:
                await asyncio.sleep(0.001)
        following = asyncio.create_task(ask(second, api, stream=stream))
        await asyncio.sleep(0)
        upstream.go_on.set()
        led, followed = await leading, await following
        assert api.text(led.content) == api.text(followed.content)
        assert (led.headers["x-cache"], followed.headers["x-cache"]) == ("MISS", "HIT")
        question = PARAPHRASE if api.by_meaning else QUESTION
        assert await outcome(second, api, question, stream=not stream) == "HIT"
    assert len(upstream.asked) == 1


@pytest.mark.valkey
async def test_what_is_deleted_through_one_proxy_is_not_answered_by_the_other() -> None:
    upstream = Answering(api := APIS["responses-kept"])
    async with stand_in() as valkey, AsyncExitStack() as stack:
        setups = [setup_on(valkey) for _ in range(2)]
        setups[0].upstream.handler = upstream
        url = await stack.enter_async_context(upstream_of(setups[0].upstream))
        first, second = [await stack.enter_async_context(before(s, url)) for s in setups]
        kept = (await ask(first, api)).json()["id"]
        assert [await outcome(client, api) for client in (first, second)] == ["HIT", "HIT"]
        assert (await second.delete(f"/v1/responses/{kept}")).json() == {"deleted": True}
        assert [await outcome(client, api) for client in (first, second)] == ["MISS", "HIT"]


@STREAMED
async def test_who_follows_gets_all_of_it_though_the_first_to_ask_has_left(
    client: httpx.AsyncClient, setup: Setup, api: Api, upstream: Answering, stream: bool
) -> None:
    upstream.before = 3
    upstream.go_on.clear()
    async with asyncio.timeout(10), streamed(client, api) as leading:
        await anext(leading.aiter_raw())
        following = asyncio.create_task(ask(client, api, stream=stream))
        await collapsed(setup, 1)
    upstream.go_on.set()
    followed = await following
    assert api.text(followed.content) == api.text(upstream.streamed)
    assert await outcome(client, api, stream=not stream) == "HIT"
    assert len(upstream.asked) == 1


async def test_a_request_may_ask_for_its_very_repeat_and_a_caller_is_forgotten_whole(
    client: httpx.AsyncClient, api: Api
) -> None:
    assert await outcome(client, api) == "MISS"
    exact = {"x-cache-tier": "exact"}
    assert await outcome(client, api, PARAPHRASE, headers=exact) == "MISS"
    assert await outcome(client, api, headers=exact) == "HIT"
    assert await outcome(client, api, headers={"authorization": "Bearer other"}) == "MISS"
    purged = await client.post("/cache/purge", json={"caller": ADMIN["Authorization"]})
    assert purged.json()["purged"] == 2, purged.text
    assert await outcome(client, api, headers={"authorization": "Bearer other"}) == "HIT"
    assert await outcome(client, api, stream=True) == "MISS"


@STREAMED
async def test_in_shadow_all_is_asked_anew_and_told_what_it_would_have_been(
    api: Api, upstream: Answering, stream: bool
) -> None:
    setup = Setup(admin_token=TOKEN, mode="shadow")
    setup.upstream.handler = upstream
    async with client_of(setup) as client:
        for number, expected in enumerate(("MISS", "HIT"), 1):
            answer = await ask(client, api, stream=stream)
            assert answer.headers["x-cache-shadow"] == expected
            assert f"Answer {number} " in api.text(answer.content)
