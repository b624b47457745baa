"""The dashboard over HTTP: its files, its login, and the rights of its calls."""

import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from app.adapters import adapters_for
from app.api.dashboard.headers import HEADERS
from app.api.dashboard.sessions import LIFETIME, Sessions
from app.main import create_app
from app.server.uvicorn_server import Server, listen, url_of
from app.settings import FixedSettings
from tests.fakes import FakeEmbedder, ManualClock
from tests.servers import Setup, running

TOKEN = "admin-token"
API = "/dashboard/api"
COOKIE = "reprise_dashboard"


@pytest.fixture
def setup() -> Setup:
    return Setup(admin_token=TOKEN)


@pytest.fixture
async def client(setup: Setup) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the proxy's root. It keeps cookies and has no token."""
    async with setup.run() as url, httpx.AsyncClient() as client:
        client.base_url = httpx.URL(url.removesuffix("/v1"))
        yield client


async def log_in(client: httpx.AsyncClient) -> httpx.Response:
    """Log in as the page does, and send the CSRF token from then on."""
    origin = {"origin": str(client.base_url).rstrip("/")}
    response = await client.post(f"{API}/login", json={"token": TOKEN}, headers=origin)
    assert response.status_code == 200
    client.headers["x-csrf-token"] = response.json()["csrf"]
    return response


async def ask(client: httpx.AsyncClient, text: str) -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    response = await client.post("/v1/chat/completions", json=body)
    assert response.is_success
    return response


def code_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def test_without_a_token_there_is_no_dashboard() -> None:
    async with Setup().run() as url, httpx.AsyncClient() as client:
        root = url.removesuffix("/v1")
        for path in ("/dashboard", "/dashboard/", "/dashboard/main.js", f"{API}/stats"):
            assert code_of(await client.get(root + path)) == (404, "route_not_found")
        login = await client.post(f"{root}{API}/login", json={"token": ""})
    assert code_of(login) == (404, "route_not_found")


async def test_the_page_and_all_that_it_loads_are_there(client: httpx.AsyncClient) -> None:
    page = await client.get("/dashboard")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert (await client.head("/dashboard")).status_code == 200
    waiting, seen = set(re.findall(r'(?:href|src)="(dashboard/[^"]+)"', page.text)), set[str]()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        loaded = await client.get(f"/{name}")
        kind = "javascript" if name.endswith(".js") else "css"
        assert loaded.headers["content-type"] == f"text/{kind}; charset=utf-8"
        imports = re.findall(r'from "\./([\w.]+)"', loaded.text)
        waiting |= {f"dashboard/{other}" for other in imports} - seen
    assert len(seen) > 5


async def test_the_path_with_a_slash_leads_to_the_page(client: httpx.AsyncClient) -> None:
    led = await client.get("/dashboard/", follow_redirects=True)
    assert (led.status_code, led.url.path) == (200, "/dashboard")


@pytest.mark.parametrize("path", ["x.js", "README.md", "..%2Fguards%2Fen.txt", "%2e%2e", "api"])
async def test_nothing_but_the_files_of_the_page_is_served(
    client: httpx.AsyncClient, path: str
) -> None:
    assert code_of(await client.get(f"/dashboard/{path}")) == (404, "route_not_found")


@pytest.mark.parametrize(
    "path", ["/dashboard", "/dashboard/main.js", "/dashboard/x", f"{API}/stats"]
)
async def test_no_page_may_frame_it_and_no_copy_is_kept(
    client: httpx.AsyncClient, path: str
) -> None:
    headers = (await client.get(path)).headers
    for name, value in HEADERS:
        assert headers.get_list(name.decode()) == [value.decode()]
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-frame-options"] == "DENY"


async def test_other_routes_keep_their_headers(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/dashboardx", "/v1/dashboard"):
        assert "x-frame-options" not in (await client.get(path)).headers


@pytest.mark.parametrize(
    ("origin", "is_secure"),
    [
        ("http://127.0.0.1:8000", False),
        ("http://localhost:8000", False),
        ("http://[::1]:8000", False),
        ("https://127.0.0.1:8000", True),
        ("https://llm.example.com", True),
        ("http://llm.example.com", True),
        ("null", True),
        (None, True),
    ],
)
async def test_the_cookie_goes_to_the_dashboard_alone_and_by_https(
    client: httpx.AsyncClient, origin: str | None, is_secure: bool
) -> None:
    headers = {"origin": origin} if origin else {}
    response = await client.post(f"{API}/login", json={"token": TOKEN}, headers=headers)
    name, *attributes = response.headers["set-cookie"].split("; ")
    assert name.startswith(f"{COOKIE}=")
    told = {attribute.lower() for attribute in attributes}
    assert told - {"secure"} == {
        "httponly",
        f"max-age={LIFETIME}",
        "path=/dashboard",
        "samesite=strict",
    }
    assert ("secure" in told) is is_secure


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"token": "wrong"}, 401),
        ({"token": ""}, 401),
        ({"token": None}, 401),
        ({"token": "ä"}, 401),
        ({}, 401),
        ({"token": TOKEN, "x": 1}, 400),
        ([], 400),
    ],
)
async def test_a_wrong_token_opens_nothing(
    client: httpx.AsyncClient, body: Any, status: int
) -> None:
    refused = await client.post(f"{API}/login", json=body)
    assert (refused.status_code, "set-cookie" in refused.headers) == (status, False)


async def test_no_token_stands_in_a_log(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await client.post(f"{API}/login", json={"token": "a-wrong-one"})
        session = (await log_in(client)).cookies[COOKIE]
        await client.post(f"{API}/search", json={"by": "text", "text": "a-secret-text"})
    for secret in (TOKEN, "a-wrong-one", session, client.headers["x-csrf-token"], "a-secret-text"):
        assert secret not in caplog.text
    assert "a login to the dashboard was refused" in caplog.text


CALLS: list[tuple[str, str, Any]] = [
    ("GET", "/session", None),
    ("GET", "/stats", None),
    ("GET", "/report", None),
    ("GET", "/review", None),
    ("GET", "/entries/0123", None),
    ("DELETE", "/entries/0123", None),
    ("POST", "/search", {}),
    ("POST", "/feedback", {"id": "0123", "correct": False}),
    ("POST", "/pin", {"id": "0123"}),
    ("POST", "/explain", {"request": {}, "headers": {}}),
    ("POST", "/logout", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_without_a_session_nothing_is_told(
    client: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    bearer = {"authorization": f"Bearer {TOKEN}"}
    refused = await client.request(method, API + path, json=body, headers=bearer)
    assert code_of(refused) == (401, "invalid_session")


@pytest.mark.parametrize("told", [None, "", "0" * 64, "ä"])
@pytest.mark.parametrize(("method", "path", "body"), [c for c in CALLS if c[0] != "GET"])
async def test_without_the_token_of_the_session_nothing_changes(
    client: httpx.AsyncClient, method: str, path: str, body: Any, told: str | None
) -> None:
    await log_in(client)
    del client.headers["x-csrf-token"]
    headers = {} if told is None else {b"x-csrf-token": told.encode("latin-1")}
    refused = await client.request(method, API + path, json=body, headers=headers)
    assert code_of(refused) == (403, "invalid_csrf_token")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_sites_page_may_neither_log_in_nor_ask(
    client: httpx.AsyncClient, site: str
) -> None:
    await log_in(client)
    client.headers["sec-fetch-site"] = site
    for refused in (
        await client.post(f"{API}/login", json={"token": TOKEN}),
        await client.get(f"{API}/stats"),
        await client.post(f"{API}/search", json={}),
    ):
        assert code_of(refused) == (403, "forbidden_origin")
    client.headers["sec-fetch-site"] = "same-origin"
    assert (await client.get(f"{API}/stats")).status_code == 200


async def test_a_session_ends(client: httpx.AsyncClient, setup: Setup) -> None:
    await log_in(client)
    session = {"cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
    setup.clock.advance(LIFETIME - 1)
    assert (await client.get(f"{API}/stats", headers=session)).status_code == 200
    setup.clock.advance(2)
    assert code_of(await client.get(f"{API}/stats", headers=session)) == (401, "invalid_session")


async def test_logging_out_removes_the_cookie(client: httpx.AsyncClient) -> None:
    await log_in(client)
    assert (await client.post(f"{API}/logout", json={})).status_code == 200
    assert COOKIE not in client.cookies
    assert code_of(await client.get(f"{API}/stats")) == (401, "invalid_session")


async def test_after_logging_out_no_copy_of_the_cookie_opens_anything(
    client: httpx.AsyncClient,
) -> None:
    await log_in(client)
    copy = {"cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
    assert (await client.get(f"{API}/stats", headers=copy)).status_code == 200
    await client.post(f"{API}/logout", json={})
    assert code_of(await client.get(f"{API}/stats", headers=copy)) == (401, "invalid_session")
    assert code_of(await client.post(f"{API}/logout", headers=copy)) == (401, "invalid_session")
    await log_in(client)
    assert (await client.get(f"{API}/stats")).status_code == 200


def test_sessions_are_those_of_one_token_and_cannot_be_made_up() -> None:
    clock = ManualClock()
    ours, others = Sessions("a", clock), Sessions("b", clock)
    session = ours.new()
    assert Sessions("a", clock).holds(session)
    assert not others.holds(session)
    ends, nonce, mac = session.split(".")
    for forged in (
        "",
        "..",
        f"{int(ends, 16) + 1:x}.{nonce}.{mac}",
        f"{ends}.{nonce[:-1]}g.{mac}",
        f"{ends}.{nonce}.{ours.csrf_token(session)}",
        f"{session}\n",
        f"{session}.",
    ):
        assert not ours.holds(forged)
    assert ours.csrf_token(session) != ours.csrf_token(ours.new())


async def test_the_page_sees_the_figures_of_the_stats(client: httpx.AsyncClient) -> None:
    for text in ("valkey what", "valkey what", "valkey is what", "pasta how"):
        await ask(client, text)
    await log_in(client)
    shown = (await client.get(f"{API}/stats")).json()
    told = await client.get("/cache/stats", headers={"authorization": f"Bearer {TOKEN}"})
    assert shown == told.json()
    assert (shown["requests"]["HIT"], shown["hits"]) == (2, {"exact": 1, "semantic": 1})
    assert {kind: of["of"] for kind, of in shown["latency_ms"].items()} == {
        "exact": 1,
        "miss": 2,
        "semantic": 1,
    }
    assert shown["latency_ms"]["miss"]["p50"] <= shown["latency_ms"]["miss"]["p99"]
    assert (shown["workers"], shown["counted_in"]) == (1, "process")
    assert shown["in_force"]["mode"] == "serve"
    assert shown["in_force"]["dials"] == []


async def test_the_page_can_do_what_an_operator_can(client: httpx.AsyncClient) -> None:
    entry = (await ask(client, "valkey what")).headers["x-cache-entry"]
    await log_in(client)
    body = {"model": "m", "messages": [{"role": "user", "content": "valkey is what"}]}
    asked = {"request": body, "headers": {}}
    told = (await client.post(f"{API}/explain", json=asked)).json()
    assert (told["outcome"], told["entry"]) == ("HIT", entry)
    for standing in ("exact_only", "removed"):
        wrong = {"id": entry, "correct": False}
        judged = await client.post(f"{API}/feedback", json=wrong)
        assert judged.json()["standing"] == standing
    assert (await client.get(f"{API}/entries/{entry}")).status_code == 404


@pytest.mark.parametrize("path", ["/purge", "/export", "/import"])
async def test_what_the_page_does_not_use_is_not_there(
    client: httpx.AsyncClient, path: str
) -> None:
    await log_in(client)
    for method in ("GET", "POST"):
        assert (await client.request(method, API + path)).status_code == 404


async def test_the_dashboard_answers_at_the_operators_port_alone() -> None:
    with listen("127.0.0.1", 0) as own:
        port = own.getsockname()[1]
        settings = FixedSettings(
            upstream_url="simulated://",
            verifier="off",
            admin_token=SecretStr(TOKEN),
            admin_port=port,
        )
        app = create_app(settings, adapters_for(settings, embedder=FakeEmbedder()))
        server = Server(app, 1, lambda: None, operators_port=port)
        paths = ("/dashboard", "/dashboard/main.js", f"{API}/session")
        async with running(server, own) as url, httpx.AsyncClient() as client:
            public = [(await client.get(url + path)).status_code for path in paths]
            asked = [(await client.get(url_of(own) + path)).status_code for path in paths]
    assert (public, asked) == ([404, 404, 404], [200, 200, 401])
