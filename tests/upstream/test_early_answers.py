"""An upstream that answers before it has read the body, and closes."""

import socket
import threading
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from app.core.models import ClientRequest
from app.upstream.http import HttpUpstream, Target

ANSWER = b'{"error":{"message":"too large"}}'
HEAD = b"HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(ANSWER)


@pytest.fixture
def refusing() -> Iterator[str]:
    """Run a server in a thread of its own that reads heads only; give its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    head = b""
                    while b"\r\n\r\n" not in head:
                        head += connection.recv(1024)
                    connection.sendall(HEAD + ANSWER)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("size", [1000, 100_000, 5_000_000])
async def test_an_answer_that_has_arrived_is_given_though_the_body_was_not_taken(
    refusing: str, size: int
) -> None:
    async with aclosing(HttpUpstream(Target(refusing))) as upstream:
        for _ in range(10):
            request = ClientRequest("POST", b"/x", b"", [], b"x" * size)
            async with aclosing(await upstream.send(request)) as response:
                assert response.status_code == 413
                assert b"".join([piece async for piece in response]) == ANSWER
