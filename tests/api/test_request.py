"""Reading a request: its request line, its headers, its body, its end."""

import asyncio
from typing import Any

import pytest

from app.api.request import RequestReader, client_request
from app.core.errors import ClientDisconnected, PassthroughDisabled, RouteNotFound
from tests.api.asgi import Client, piece


def scope(path: bytes, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"method": "POST", "raw_path": path, "query_string": b"a=%2F", "headers": [*headers]}


def test_a_request_is_read_as_it_came_but_for_what_concerns_the_connection() -> None:
    kept = [(b"x-a", b"1"), (b"x-a", b"2"), (b"authorization", b"Bearer k")]
    hop = [(b"connection", b"x-b"), (b"x-b", b"3"), (b"te", b"trailers")]
    request = client_request(scope(b"/v1/files/a%2Fb", *kept, *hop), b"body")
    assert (request.prefix, request.path, request.query) == (b"/v1", b"/files/a%2Fb", b"a=%2F")
    assert (request.method, request.headers, request.body) == ("POST", kept, b"body")


@pytest.mark.parametrize("path", [b"/", b"/v1", b"/favicon.ico", b"/v2/models", b"//models"])
def test_what_is_no_path_of_the_api_is_not_found(path: bytes) -> None:
    with pytest.raises(RouteNotFound):
        client_request(scope(path), b"")


@pytest.mark.parametrize(
    "name",
    [
        *("..", ".", "%2e%2e", ".%2E", "..%2f..", "a/..", "a%2F%2e"),
        *("..;", "..;x=1", "..%3b", "..\\", "a\\..", "..%5c", "%252e%252e", ".%252e", "..%252f"),
        *("%25%32%65%25%32%65", "%25252e", "%2525252525"),
        *("..%3fx", "..%23x", "..%00", "a%00", "a%0d%0ab", "%c0%ae", "%e0%80%ae", "%f0%80%80%ae"),
    ],
)
@pytest.mark.parametrize(
    "path", ["/openai/deployments/{}/chat/completions", "/v1/{}/files", "/models/{}"]
)
def test_no_path_leaves_that_of_the_upstream(path: str, name: str) -> None:
    with pytest.raises(PassthroughDisabled):
        client_request(scope(path.format(name).encode()), b"")


@pytest.mark.parametrize(
    "name", ["...", "..a", "a..", ".a", "gpt-4.1", "a;..", "100%25", "a%2525", "%c3%a9"]
)
def test_dots_in_a_name_are_no_matter(name: str) -> None:
    path = f"/openai/deployments/{name}/chat/completions".encode()
    assert client_request(scope(path), b"").path == path.removeprefix(b"/openai")


async def test_a_body_is_read_whole() -> None:
    reader = RequestReader(Client(piece(b"ab", more=True), piece(b"", more=True), piece(b"c")))
    assert await reader.body(limit=3) == b"abc"


async def test_of_a_body_that_is_too_long_nothing_is_lost() -> None:
    pieces = [piece(b"ab", more=True), piece(b"c", more=True), piece(b"", more=True), piece(b"d")]
    reader = RequestReader(Client(*pieces))
    assert await reader.body(limit=2) is None
    assert [told async for told in reader.stream()] == [b"ab", b"c", b"d"]


async def test_a_client_that_leaves_before_its_body_ends_is_gone() -> None:
    client = Client(piece(b"ab", more=True))
    client.leaves.set()
    reader = RequestReader(client)
    with pytest.raises(ClientDisconnected):
        await reader.body(limit=9)
    await reader.disconnected()


async def test_its_absence_is_noticed_once_the_body_is_read() -> None:
    client = Client(piece(b"ab"))
    reader = RequestReader(client)
    leaving = asyncio.create_task(reader.disconnected())
    assert await reader.body(limit=9) == b"ab"
    await asyncio.sleep(0)
    assert not leaving.done()
    client.leaves.set()
    await leaving
