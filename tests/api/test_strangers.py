"""The warning about requests that contain nothing that identifies their caller."""

import logging

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.api.middleware import StrangersMiddleware
from app.core.models import Header
from app.rules.key import Isolation, KeyRules

RULES = KeyRules("https://upstream.test/v1", key_headers=frozenset({b"x-real-ip", b"forwarded"}))


async def nothing(_: Scope, __: Receive, ___: Send) -> None:
    pass


async def receive() -> Message:
    return {"type": "http.disconnect"}


async def send(_: Message) -> None:
    pass


async def ask(strangers: StrangersMiddleware, *headers: Header, path: str = "") -> None:
    scope: Scope = {"type": "http", "path": path or "/v1/chat/completions", "headers": headers}
    await strangers(scope, receive, send)


def warnings(caplog: pytest.LogCaptureFixture) -> int:
    return sum(record.levelno == logging.WARNING for record in caplog.records)


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "api-key", "x-api-key", "cookie", "x-forwarded-user"),
        *("x-auth-request-email", "remote-user", "x-remote-user", "x-webauth-user", "x-user-id"),
        *("cf-access-authenticated-user-email", "x-amzn-oidc-identity", "tailscale-user-login"),
        *("x-goog-authenticated-user-email", "x-ms-client-principal-id", "ssl-client-cert"),
        *("x-authentik-username", "x-forwarded-access-token", "openai-organization"),
        *("forwarded", "x-real-ip"),  # the operator says so
    ],
)
async def test_who_says_who_they_are_is_no_stranger(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    await ask(StrangersMiddleware(nothing, RULES), (b"x-a", b"1"), (name.encode(), b"ann"))
    assert warnings(caplog) == 0


@pytest.mark.parametrize(
    "name",
    ["forwarded", "x-forwarded-for", "x-real-ip", "x-forwarded-uri", "user-agent", "x-title"],
)
async def test_where_a_request_came_from_says_nothing_of_who_asks(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    strangers = StrangersMiddleware(nothing, KeyRules("https://upstream.test/v1"))
    await ask(strangers, (name.encode(), b"for=192.0.2.1"))
    assert warnings(caplog) == 1


async def test_a_credential_says_nothing_where_all_share(caplog: pytest.LogCaptureFixture) -> None:
    shared = KeyRules("https://upstream.test/v1", isolation=Isolation.SHARED)
    await ask(StrangersMiddleware(nothing, shared), (b"authorization", b"Bearer sk-1"))
    assert warnings(caplog) == 1


async def test_it_is_said_once_and_of_cached_routes_only(caplog: pytest.LogCaptureFixture) -> None:
    strangers = StrangersMiddleware(nothing, RULES)
    await ask(strangers, path="/v1/files")
    assert warnings(caplog) == 0
    for _ in range(3):
        await ask(strangers)
    assert warnings(caplog) == 1
