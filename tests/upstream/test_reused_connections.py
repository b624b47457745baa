"""Bytes that an upstream sends without a request, on a connection that it keeps open."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import product
from pathlib import Path

import httpx
import pytest

from app.core.models import ClientRequest
from app.upstream.http import HttpUpstream, Target
from tests.fakes import completion
from tests.servers import Setup

HOST = "127.0.0.1"


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


RIGHT = answer(b"right")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nright\r\n0\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
FOREIGN = answer(b"foreign")


class Upstream:
    """Gives each request the next of `answers`, and repeats the last one for ever."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.connections: list[asyncio.StreamWriter] = []
        self._ended: list[asyncio.Event] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        ended = asyncio.Event()
        self._ended.append(ended)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = head.lower().partition(b"content-length:")[2]
                await reader.readexactly(int(fields.split(b"\r\n")[0] or b"0"))
                writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            ended.set()

    async def say(self, said: bytes, turns: int) -> None:
        """Send bytes on the first connection, and let the event loop run `turns` times."""
        self.connections[0].write(said)
        for _ in range(turns):
            await asyncio.sleep(0)

    @asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        async with await asyncio.start_server(self, HOST, 0, ssl=tls) as server:
            port = server.sockets[0].getsockname()[1]
            yield f"{'http' if tls is None else 'https'}://localhost:{port}/v1"
            server.close()  # or a connection that was made at the very end would be left behind
            for _ in range(3):
                await asyncio.sleep(0)
            for writer, ended in zip(self.connections, self._ended, strict=True):
                writer.transport.abort()
                await ended.wait()

    @asynccontextmanager
    async def run(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[HttpUpstream]:
        async with self.serve(tls) as url:
            adapter = HttpUpstream(Target(url, read_timeout=5.0))
            yield adapter
            await adapter.aclose()


async def ask(adapter: HttpUpstream, method: str = "GET") -> bytes:
    async with aclosing(await adapter.send(ClientRequest(method, b"/x", b"", [], b""))) as response:
        return b"".join([piece async for piece in response])


@pytest.mark.parametrize("first", [RIGHT, CHUNKED, EMPTY], ids=["length", "chunked", "empty"])
async def test_a_silent_connection_is_used_again(first: bytes) -> None:
    upstream = Upstream(first)
    async with upstream.run() as adapter:
        answers = [await ask(adapter) for _ in range(5)]
    assert len(set(answers)) == 1
    assert len(upstream.connections) == 1


UNASKED = [
    FOREIGN,
    CHUNKED.replace(b"right", b"wrong"),
    FOREIGN[:1],
    FOREIGN[:12],
    FOREIGN[:16],
    FOREIGN[:30],
    FOREIGN[:-3],
    FOREIGN + FOREIGN,
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n",
    EMPTY,
]


@pytest.mark.parametrize("turns", [0, 3])
@pytest.mark.parametrize("unasked", [*UNASKED, b"nonsense"])
async def test_what_comes_between_two_requests_answers_none(unasked: bytes, turns: int) -> None:
    upstream = Upstream(RIGHT)
    async with upstream.run() as adapter:
        assert await ask(adapter) == b"right"
        await upstream.say(unasked, turns)
        assert [await ask(adapter) for _ in range(3)] == [b"right"] * 3
    assert len(upstream.connections) == 2


@pytest.mark.parametrize("unasked", UNASKED)
@pytest.mark.parametrize("first", [RIGHT, CHUNKED, EMPTY], ids=["length", "chunked", "empty"])
async def test_what_comes_with_an_answer_is_no_part_of_another(
    first: bytes, unasked: bytes
) -> None:
    upstream = Upstream(first + unasked, RIGHT)
    async with upstream.run() as adapter:
        expected = b"" if first == EMPTY else b"right"
        assert await ask(adapter) == expected
        assert [await ask(adapter) for _ in range(3)] == [b"right"] * 3
    assert len(upstream.connections) == 2


@pytest.mark.parametrize("turns", [0, 3])
async def test_every_connection_that_has_spoken_is_passed_over(turns: int) -> None:
    upstream = Upstream(RIGHT)
    async with upstream.run() as adapter:
        await asyncio.gather(*(ask(adapter) for _ in range(4)))
        assert len(upstream.connections) == 4
        for writer in upstream.connections[:3]:
            writer.write(FOREIGN)
        await upstream.say(b"", turns)
        assert await asyncio.gather(*(ask(adapter) for _ in range(4))) == [b"right"] * 4
    assert len(upstream.connections) == 7


@pytest.mark.parametrize("turns", [0, 5])
async def test_so_it_is_with_tls(
    certified: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    context, certificate = certified
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    upstream = Upstream(RIGHT)
    async with upstream.run(context) as adapter:
        assert [await ask(adapter) for _ in range(3)] == [b"right"] * 3
        assert len(upstream.connections) == 1
        await upstream.say(FOREIGN, turns)
        assert await ask(adapter) == b"right"
    assert len(upstream.connections) == 2


async def test_a_connection_that_was_closed_a_moment_ago_is_not_used() -> None:
    upstream = Upstream(RIGHT)
    async with upstream.run() as adapter:
        await ask(adapter)
        upstream.connections[0].write_eof()
        assert await ask(adapter) == b"right"


async def test_what_a_new_connection_says_at_once_is_for_who_opened_it() -> None:
    ended = asyncio.Event()

    async def full(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull")
        await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(full, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        adapter = HttpUpstream(Target(f"http://127.0.0.1:{port}/v1"))
        assert await ask(adapter) == b"full"
        await adapter.aclose()
        await ended.wait()


@pytest.mark.parametrize("turns", [0, 3])
async def test_an_answer_that_nobody_asked_for_reaches_no_tenant(turns: int) -> None:
    def told(content: str) -> bytes:
        return answer(json.dumps(completion(content)).encode()).replace(
            b"200 OK\r\n", b"200 OK\r\nContent-Type: application/json\r\n"
        )

    upstream = Upstream(told("right"))
    async with (
        upstream.serve() as upstream_url,
        Setup(timeout=5).run_before(upstream_url) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        for number, tenant in product(range(3), ("alice", "bob", "bob")):
            response = await client.post(
                "/chat/completions",
                json={
                    "model": "m",
                    "messages": [{"role": "user", "content": f"{number} is what"}],
                },
                headers={"authorization": f"Bearer {tenant}"},
            )
            assert response.json()["choices"][0]["message"]["content"] == "right"
            for connection in upstream.connections:
                connection.write(told("foreign"))
            await upstream.say(b"", turns)
