"""Requests that the gate refuses before any other code sees them."""

import pytest
from starlette.types import Receive, Scope, Send

from app.api.middleware import GateMiddleware, is_loopback
from app.core.errors import ForbiddenOrigin, InvalidAPIKey, Refusal, WebSocketUnsupported
from app.core.models import Header
from tests.api.asgi import Client, Sent, scope_of

HERE: Header = (b"host", b"localhost:8000")
PAGE: Header = (b"origin", b"https://app.example.com")


class Passed:
    """An application that only records whether a request reached it."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        ([HERE], None),
        ([(b"host", b"127.0.0.1")], None),
        ([(b"host", b"[::1]:8000")], None),
        ([(b"host", b"LOCALHOST.")], None),
        ([HERE, (b"upgrade", b"h2c")], None),
        ([], ForbiddenOrigin),
        ([(b"host", b"")], ForbiddenOrigin),
        ([(b"host", b"rebound.example.com")], ForbiddenOrigin),
        ([(b"host", b"localhost.example.com")], ForbiddenOrigin),
        ([(b"host", b"localhost@example.com")], ForbiddenOrigin),
        ([(b"host", b"[localhost]")], ForbiddenOrigin),
        ([HERE, PAGE], ForbiddenOrigin),
        ([HERE, (b"origin", b"null")], ForbiddenOrigin),
        ([HERE, (b"upgrade", b"WebSocket")], WebSocketUnsupported),
    ],
)
async def test_a_guarded_proxy_is_for_this_machine(
    headers: list[Header], refusal: type[Refusal] | None
) -> None:
    passed = Passed()
    gate = GateMiddleware(passed, [], guard_origin=True)
    if refusal is None:
        await gate(scope_of("/v1/files", *headers), Client(), Sent())
        assert passed.paths == ["/v1/files"]
    else:
        with pytest.raises(refusal):
            await gate(scope_of("/v1/files", *headers), Client(), Sent())
        assert passed.paths == []


@pytest.mark.parametrize("origins", [["https://app.example.com"], ["*"]])
async def test_pages_that_are_let_in_may_come(origins: list[str]) -> None:
    passed = Passed()
    gate = GateMiddleware(passed, [], guard_origin=True, origins=origins)
    await gate(scope_of("/v1/files", HERE, PAGE), Client(), Sent())
    assert passed.paths == ["/v1/files"]


async def test_a_key_is_wanted_for_the_api_alone() -> None:
    passed = Passed()
    gate = GateMiddleware(passed, ["sk-right"], guard_origin=False)
    with pytest.raises(InvalidAPIKey):
        await gate(scope_of("/v1/files"), Client(), Sent())
    await gate(scope_of("/v1/files", (b"api-key", b"sk-right")), Client(), Sent())
    await gate(scope_of("/healthz"), Client(), Sent())
    assert passed.paths == ["/v1/files", "/healthz"]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("10.0.0.1", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_loopback_names_are_told_apart(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
