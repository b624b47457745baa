"""Whatever clients, operators or a store send to a whole proxy, it neither fails nor hangs."""

import asyncio
import itertools
import json
import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from app.adapters import adapters_for
from app.main import create_app
from app.server.uvicorn_server import serving
from app.settings import FixedSettings
from tests.behaviour.test_hostile_wire import BODY, HOST, answers_in
from tests.fakes import FakeEmbedder
from tests.project.test_fuzz import EDITS, edited
from tests.servers import Setup
from tests.strategies import JSON
from tests.valkey.resp import Failure, Simple, encode

TOKEN = "admin-token"
FEW = settings(
    max_examples=settings().max_examples // 4,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NEXT = b"GET /v1/models HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve in a thread, in front of a simulated upstream."""
    own = FixedSettings(upstream_url="simulated://", admin_token=SecretStr(TOKEN), verifier="off")
    with serving(create_app(own, adapters_for(own, embedder=FakeEmbedder()))) as base:
        yield base


@pytest.fixture(autouse=True)
def no_defect(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check after each test that the log contains no traceback."""
    with caplog.at_level(logging.WARNING):
        yield
    assert [record for record in caplog.records if record.exc_info] == []


def told(url: str, sent: bytes, size: int) -> bytes:
    """Send bytes, `size` at a time, and close the sending side. Return the server's reply."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as sock:
        with suppress(ConnectionError):  # refused in the middle
            for at in range(0, len(sent), size):
                sock.sendall(sent[at : at + size])
            sock.shutdown(socket.SHUT_WR)
        pieces = []
        with suppress(ConnectionResetError):
            while piece := sock.recv(65_536):
                pieces.append(piece)
    return b"".join(pieces)


EXTENSIONS = st.sampled_from([b"", b";a", b";a=b", b';a="b c"', b"; a = b", b";;"])
TRAILERS = st.sampled_from([b"", b"X: y\r\n", b"Content-MD5: x\r\nX-Forwarded-User: admin\r\n"])
SIZES = st.integers(1, 300)


def chunked(cuts: list[int], extension: bytes, trailers: bytes) -> bytes:
    """Return a request with BODY in chunks. `cuts` are the places where the body is cut."""
    places = sorted({cut % len(BODY) for cut in cuts} | {0, len(BODY)})
    pieces = [BODY[begin:end] for begin, end in itertools.pairwise(places)]
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(p), extension, p) for p in pieces)
    return HEAD + chunks + b"0\r\n" + trailers + b"\r\n"


@FEW
@given(st.lists(st.integers(0, 500), max_size=8), EXTENSIONS, TRAILERS, SIZES)
def test_a_body_arrives_however_it_is_cut_and_the_next_answer_is_the_next_requests(
    url: str, cuts: list[int], extension: bytes, trailers: bytes, size: int
) -> None:
    answers = answers_in(told(url, chunked(cuts, extension, trailers) + NEXT, size))
    statuses = [status for status, _, _ in answers]
    assert statuses == [200, 200] or (statuses == [400] and extension in {b"; a = b", b";;"})
    assert b'"list"' in answers[-1][2] or statuses == [400]


@FEW
@given(st.lists(st.integers(0, 500), max_size=3), EDITS, SIZES)
def test_broken_framing_is_read_or_refused_and_closed(
    url: str, cuts: list[int], edits: list[tuple[int, int, bytes]], size: int
) -> None:
    answers = answers_in(told(url, edited(chunked(cuts, b"", b""), edits) + NEXT, size))
    for status, fields, body in answers:
        assert status < 500 or status == 501
        assert status == 200 or json.loads(body)["error"]["message"]
        assert fields.get("connection") != "close" or fields is answers[-1][1]


ROUTES = [
    *(("GET", path) for path in ("stats", "entries", "entries/x", "export", "nowhere", "purge")),
    *(("POST", path) for path in ("purge", "feedback", "pin", "explain", "import", "entries")),
    *(("DELETE", path) for path in ("entries/x", "stats")),
]
WORDS = st.sampled_from(
    [
        *("id", "correct", "pinned", "all", "tag", "model", "namespace", "about", "max_distance"),
        *("caller", "dry_run", "request", "headers", "route", "messages", "limit", "cursor"),
    ]
)
ANYTHING = JSON | st.dictionaries(
    WORDS, JSON | st.dictionaries(WORDS, JSON, max_size=3), max_size=4
)
QUERY = st.dictionaries(WORDS, st.text(max_size=20) | st.integers().map(str), max_size=3)


@pytest.fixture(scope="module")
def operator(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{url}/cache/", trust_env=False) as client:
        yield client


@FEW
@given(
    st.sampled_from(ROUTES),
    QUERY,
    ANYTHING.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=60),
)
def test_an_operator_is_understood_or_told_what_is_wrong(
    operator: httpx.Client, route: tuple[str, str], query: dict[str, str], body: bytes
) -> None:
    method, path = route
    token = {"authorization": f"Bearer {TOKEN}"}
    response = operator.request(method, path, params=query, content=body, headers=token)
    assert response.status_code in {200, 400, 404, 405}
    assert response.is_success or response.json()["error"]["message"]
    without = operator.request(method, path, params=query, content=body)
    assert without.status_code in {401, 404, 405}


REPLIES: st.SearchStrategy[Any] = st.recursive(
    st.integers(-5, 2**40)
    | st.binary(max_size=20)
    | st.sampled_from([b"__distance", b"0.01", b"nan", b"1", Simple(b"OK"), Failure(b"ERR x")])
    | st.sampled_from([Failure(b"MOVED 1 127.0.0.1:1"), Failure(b"OOM x"), Failure(b"LOADING x")]),
    lambda children: st.lists(children, max_size=5),
    max_leaves=12,
)
SAID = st.lists(REPLIES.map(encode) | st.binary(max_size=30), min_size=1, max_size=6)


async def ask_beside(replies: list[bytes]) -> list[int]:
    """Ask a proxy three times, while its store sends `replies`. Return the status codes."""
    ahead = itertools.cycle(replies)
    talks: set[asyncio.Task[None] | None] = set()

    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task())
        with suppress(ConnectionError):
            while asked := await reader.read(65_536):
                for _ in range(max(1, asked.count(b"\r\n*") + 1)):
                    writer.write(next(ahead))
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(lie, "127.0.0.1", 0) as valkey:
        port = valkey.sockets[0].getsockname()[1]
        setup = Setup(store=f"valkey://127.0.0.1:{port}", store_timeout=0.05)
        setup.store = None
        async with setup.run() as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
            statuses = [
                (await client.post("chat/completions", content=BODY)).status_code for _ in range(3)
            ]
    await asyncio.gather(*filter(None, talks), return_exceptions=True)
    return statuses


@settings(FEW, max_examples=settings().max_examples // 8)
@given(SAID)
def test_whatever_a_store_says_the_client_gets_the_upstreams_answer(replies: list[bytes]) -> None:
    assert asyncio.run(asyncio.wait_for(ask_beside(replies), 20)) == [200, 200, 200]
