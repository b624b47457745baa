"""An upstream that answers before it has read the body, and closes."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest

from app.core.models import ClientRequest
from app.upstream.http import HttpUpstream, Target

ANSWER = b'{"error":{"message":"too large"}}'
HEAD = b"HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(ANSWER)


def _serve(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        # Else the answer waits for the client to acknowledge what TLS has said before.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(plain, server_side=True) if context else plain as connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(1024)
            connection.sendall(HEAD + ANSWER)


@contextmanager
def refusing(context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run a server in its own thread. It reads only heads of requests. Yield its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        thread = threading.Thread(target=_serve, args=(listener, context), daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        yield f"https://localhost:{port}/v1" if context else f"http://127.0.0.1:{port}/v1"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


async def check(url: str, size: int) -> None:
    async with aclosing(HttpUpstream(Target(url))) as upstream:
        for _ in range(10):
            request = ClientRequest("POST", b"/x", b"", [], b"x" * size)
            async with aclosing(await upstream.send(request)) as response:
                assert response.status_code == 413
                assert b"".join([piece async for piece in response]) == ANSWER


@pytest.mark.parametrize("size", [1000, 100_000, 5_000_000])
async def test_an_answer_that_has_arrived_is_given_though_the_body_was_not_taken(size: int) -> None:
    with refusing() as url:
        await check(url, size)


@pytest.mark.parametrize("size", [1000, 100_000, 5_000_000])
async def test_so_it_is_with_tls(
    certified: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    context, certificate = certified
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with refusing(context) as url:
        await check(url, size)
