"""Every exchange is counted, and ends with an answer."""

import asyncio
import json
import logging
from collections.abc import Callable

import pytest
from starlette.types import Receive, Scope, Send

from app.api.middleware import ExchangeMiddleware
from app.core.cache_status import CacheStatus
from app.core.errors import ClientDisconnected, NotCached
from app.core.metrics import Metrics
from tests.api.asgi import Client, Sent, scope_of

Counted = dict[tuple[str, str, str], float]
"""The number of exchanges by route, outcome and tier."""


class Application:
    """Begins an answer if `status` is not None. After that, raises `raised` if it is not None."""

    def __init__(self, raised: BaseException | None, status: CacheStatus | None = None) -> None:
        self._raised = raised
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._status is not None:
            scope["state"]["cache_status"] = self._status
            await send({"type": "http.response.start", "status": 200, "headers": []})
        if self._raised is not None:
            raise self._raised


async def run(application: Application, path: str = "") -> tuple[Sent, Counted]:
    """Run an exchange. Return the messages that were sent, and the counts."""
    metrics, told = Metrics(), Sent()
    scope = scope_of(path or "/v1/chat/completions")
    await ExchangeMiddleware(application, metrics)(scope, Client(), told)
    (family,) = metrics.requests.collect()
    counted = {
        (s.labels["route"], s.labels["outcome"], s.labels["tier"]): s.value
        for s in family.samples
        if s.name.endswith("_total")
    }
    return told, counted


@pytest.mark.parametrize(
    ("make", "status_code", "code"),
    [
        (lambda: NotCached("No."), 504, "not_cached"),
        (asyncio.CancelledError, 503, "shutting_down"),
        (lambda: ZeroDivisionError("secret"), 500, "internal_error"),
    ],
)
async def test_what_is_raised_before_an_answer_becomes_one(
    make: Callable[[], BaseException], status_code: int, code: str
) -> None:
    told, counted = await run(Application(make()))
    assert (told.status_code, json.loads(told.body)["error"]["code"]) == (status_code, code)
    assert b"secret" not in told.body
    assert counted == {("chat_completions", "REFUSED", ""): 1}


async def test_nothing_is_said_in_the_middle_of_an_answer() -> None:
    told, counted = await run(Application(ZeroDivisionError(), CacheStatus.miss("digest")))
    assert [message["type"] for message in told.messages] == ["http.response.start"]
    assert counted == {("chat_completions", "MISS", ""): 1}


async def test_who_left_before_an_answer_is_counted_as_such() -> None:
    told, counted = await run(Application(ClientDisconnected()))
    assert told.messages == []
    assert counted == {("chat_completions", "ABANDONED", ""): 1}


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/openai/deployments/a/chat/completions", "chat_completions"),
        ("/embeddings", "embeddings"),
        ("/v1/files", "other"),
    ],
)
async def test_every_path_of_the_api_is_counted(path: str, route: str) -> None:
    _, counted = await run(Application(None, CacheStatus.bypass("passthrough")), path)
    assert counted == {(route, "BYPASS", ""): 1}


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/cache/stats"])
async def test_no_other_path_is(path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "reprise.access")
    _, counted = await run(Application(None, CacheStatus.bypass("passthrough")), path)
    assert (counted, caplog.records) == ({}, [])
