"""`/cache/explain` over HTTP: it tells an operator what a request will get."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.servers import Setup

TOKEN = "admin-token"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
ANN = {"Authorization": "Bearer sk-ann"}


@pytest.fixture
def setup() -> Setup:
    return Setup(admin_token=TOKEN)


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the proxy's root."""
    async with (
        setup.run() as url,
        httpx.AsyncClient(base_url=url.removesuffix("/v1")) as client,
    ):
        yield client


def body_of(text: str = "valkey what", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


async def ask(
    client: httpx.AsyncClient, body: Any, headers: Any = ANN, query: str = ""
) -> httpx.Response:
    return await client.post(f"/v1/chat/completions{query}", json=body, headers=headers)


async def explain(client: httpx.AsyncClient, document: Any, headers: Any = ADMIN) -> Any:
    response = await client.post("/cache/explain", json=document, headers=headers)
    assert response.status_code == 200
    return response.json()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (body_of("valkey what"), {}),
        (body_of("valkey is what"), {}),
        (body_of("valkey is what", stream=True), {"User-Agent": "other"}),
        (body_of("pasta how"), {}),
        (body_of("valkey what", temperature=0.5), {}),
        (body_of("valkey what", temperature=2), {}),
        (body_of("valkey what", n="x"), {}),
        (body_of("valkey what"), {"Cache-Control": "no-cache"}),
        (body_of("valkey what"), {"Cache-Control": "max-age=0"}),
        (body_of("valkey is what"), {"Cache-Control": "max-age=0, only-if-cached"}),
        (body_of("valkey what"), {"X-Cache-Namespace": "a"}),
        (body_of("valkey what"), {"Connection": "x-a", "X-A": "1"}),
        (body_of("valkey what"), {"X-A": "1"}),
    ],
)
async def test_what_is_told_is_what_the_request_gets(
    client: httpx.AsyncClient, setup: Setup, body: Any, headers: dict[str, str]
) -> None:
    await ask(client, body_of("valkey what"))
    setup.clock.advance(5)
    theirs = {**ANN, **headers}
    beside = await explain(client, {"request": body, "headers": theirs})
    told = await explain(client, body, {**theirs, "x-api-key": TOKEN})
    assert (told, len(setup.upstream.exchanges)) == (beside, 1)
    response = await ask(client, body, theirs)
    if told["outcome"] == "REFUSED":
        assert (response.status_code, told["cache_status"]) == (504, None)
        return
    assert (told["outcome"], told["cache_status"], told["entry"]) == (
        response.headers["x-cache"],
        response.headers["cache-status"],
        response.headers.get("x-cache-entry"),
    )


async def test_another_caller_is_told_nothing_of_ours(client: httpx.AsyncClient) -> None:
    await ask(client, body_of("valkey what"))
    request = {"request": body_of("valkey what", temperature=0.5)}
    ours = await explain(client, {**request, "headers": ANN})
    assert ours["elsewhere"]["differs"] == ["body.temperature"]
    for headers in ({}, {"Authorization": "Bearer sk-bob"}, {"x-api-key": ["sk-ann", "sk-ann"]}):
        told = await explain(client, {**request, "headers": headers})
        assert (told["elsewhere"]["entry"], told["nearest"]) == (None, [])


@pytest.mark.parametrize(
    ("who", "cookie", "differs"),
    [
        (ANN, "session=2", ["cookie.session"]),
        (ANN, "session=1; AWSALB=1", None),
        ({}, "session=2", None),
    ],
)
async def test_a_cookie_that_parts_two_requests_is_named(
    client: httpx.AsyncClient, who: dict[str, str], cookie: str, differs: list[str] | None
) -> None:
    await ask(client, body_of(), {**who, "Cookie": "session=1; AWSALB=0"})
    told = await explain(client, {"request": body_of(), "headers": {**who, "Cookie": cookie}})
    assert told["elsewhere"]["differs"] == differs
    assert told["outcome"] == ("HIT" if "AWSALB" in cookie else "MISS")


async def test_a_balancer_that_is_all_a_caller_shows_is_named(client: httpx.AsyncClient) -> None:
    await ask(client, body_of(), {"Cookie": "AWSALB=1"})
    told = await explain(client, {"request": body_of(), "headers": {"Cookie": "AWSALB=2"}})
    assert told["elsewhere"]["differs"] == ["cookie.AWSALB"]


async def test_the_route_is_told_beside_the_request(client: httpx.AsyncClient) -> None:
    await ask(client, body_of())
    for route, bypass in (("/v1/chat/completions", None), ("/v1/embeddings", "unknown-body")):
        told = await explain(client, {"request": body_of(), "headers": ANN, "route": route})
        assert told["bypass"] == bypass


async def test_the_query_is_the_callers(client: httpx.AsyncClient) -> None:
    await ask(client, body_of(), query="?api-version=1")
    for query, outcome in (("", "MISS"), ("?api-version=1", "HIT")):
        asked = {"request": body_of(), "headers": ANN}
        told = await client.post(f"/cache/explain{query}", json=asked, headers=ADMIN)
        assert told.json()["outcome"] == outcome


async def test_without_headers_beside_it_a_request_has_those_it_came_with(
    client: httpx.AsyncClient,
) -> None:
    await ask(client, body_of(), headers={"x-cache-namespace": "a"})
    headers = {**ADMIN, "x-cache-namespace": "a"}
    assert (await explain(client, {"request": body_of()}, headers))["outcome"] == "HIT"
    beside = {"request": body_of(), "headers": {}}
    assert (await explain(client, beside, headers))["outcome"] == "MISS"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{", "not-json"),
        (b'{"model": "m", "model": "n", "messages": []}', "ambiguous-json"),
        (b'{"request": {"model": "m", "model": "n"}}', "ambiguous-json"),
        (b'{"request": 1}', "unknown-body"),
        (b"[]", "unknown-body"),
        (b" " * 4096 + json.dumps(body_of()).encode(), "body-too-large"),
        (b" " * 90_000, "body-too-large"),
    ],
)
async def test_a_body_that_goes_past_the_cache_is_explained(body: bytes, detail: str) -> None:
    setup = Setup(admin_token=TOKEN, max_body_bytes=4096)
    async with setup.run() as url, httpx.AsyncClient(headers=ADMIN) as client:
        told = (await client.post(url.replace("/v1", "/cache/explain"), content=body)).json()
    assert (told["cacheable"], told["bypass"], told["key"]) == (False, detail, None)
    assert told["cache_status"] == f"reprise; fwd=bypass; detail={detail}"


@pytest.mark.parametrize(
    "document",
    [
        {"request": body_of(), "haeders": {}},
        {"request": body_of(), "route": "/v1/files"},
        {"request": body_of(), "route": 1},
        {"request": body_of(), "headers": []},
        {"request": body_of(), "headers": {"a": 1}},
        {"request": body_of(), "headers": {"a": ["b", None]}},
        {"request": body_of(), "headers": {"a": "b\nc: d"}},
        {"request": body_of(), "headers": {"a": "✓"}},
        {"request": body_of(), "headers": {"": "b"}},
        {"request": body_of(), "headers": {"a b": "c"}},
    ],
)
async def test_what_is_not_understood_is_refused(client: httpx.AsyncClient, document: Any) -> None:
    refused = await client.post("/cache/explain", json=document, headers=ADMIN)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")


async def test_the_verifier_is_asked_and_its_bar_told() -> None:
    setup = Setup(admin_token=TOKEN, verifier="on", max_distance=0.4)
    setup.verifier.answer = lambda _: 0.875
    async with setup.run() as url, httpx.AsyncClient(base_url=url[: -len("/v1")]) as client:
        await ask(client, body_of("valkey is what"))
        told = await explain(client, {"request": body_of("valkey what"), "headers": ANN})
    (near,) = told["nearest"]
    assert (near["refused_by"], near["probability"]) == ("verifier", 0.875)
    assert told["limits"] == {"max_distance": 0.4, "min_probability": 0.9}
    assert told["outcome"] == "MISS"


async def test_what_is_kept_back_is_refused_by_the_mode() -> None:
    setup = Setup(admin_token=TOKEN, mode="shadow")
    async with setup.run() as url, httpx.AsyncClient(base_url=url[: -len("/v1")]) as client:
        await ask(client, body_of("valkey what"))
        told = await explain(client, {"request": body_of("valkey what"), "headers": ANN})
        near = await explain(client, {"request": body_of("valkey is what"), "headers": ANN})
    assert (told["mode"], told["outcome"], told["shadow"]) == ("shadow", "MISS", "HIT")
    assert (told["exact"]["answers"], told["exact"]["refused_by"]) == (False, "mode")
    assert (near["outcome"], near["shadow"]) == ("MISS", "HIT")
    assert [judged["refused_by"] for judged in near["nearest"]] == ["mode"]


async def test_an_explanation_is_not_a_request(client: httpx.AsyncClient, setup: Setup) -> None:
    await ask(client, body_of("valkey can scale"))
    before = (await client.get("/cache/stats", headers=ADMIN)).json()
    for text in ("valkey can scale", "valkey can not scale", "pasta how"):
        await explain(client, {"request": body_of(text), "headers": ANN})
    after = (await client.get("/cache/stats", headers=ADMIN)).json()
    assert {**before, "uptime": 0} == {**after, "uptime": 0}
    exposed = (await client.get("/metrics")).text
    assert "reprise_refusals_total{" not in exposed
    assert setup.store.calls.count("put") == 1
    assert len(setup.upstream.exchanges) == 1


@pytest.mark.parametrize("part", ["store", "embedder"])
async def test_a_part_that_is_down_is_named(
    client: httpx.AsyncClient, setup: Setup, part: str
) -> None:
    async def fail() -> None:
        raise RuntimeError

    getattr(setup, part).before = fail
    told = await explain(client, {"request": body_of(), "headers": ANN})
    assert told["unavailable"] == [f"{part}-unavailable"]
    assert told["cache_status"] == f"reprise; fwd=miss; detail={part}-unavailable"
    response = await ask(client, body_of())
    assert response.headers["cache-status"] == told["cache_status"]
