"""The cached routes: which bodies are read completely, and the effects of a bug."""

from collections.abc import AsyncIterator

import pytest

from app.api.cached import CachedRoute
from app.core.cache_status import CacheStatus, Head
from app.core.inflight import Inflight
from app.core.metrics import Metrics
from app.core.models import ClientRequest
from app.dialects.chat_completions.request import ChatCompletions
from app.dialects.dialect import Dialect
from app.engine.answers import PendingAnswer
from app.engine.forwarder import Forwarder
from tests.api.asgi import Client, Sent, piece, scope_of
from tests.fakes import FakeResponse, FakeUpstream


class Broken:
    """An answer that fails halfway, because of a bug in the proxy."""

    async def head(self) -> Head:
        return Head(200, [], CacheStatus.bypass("passthrough"))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError

    async def aclose(self) -> None:
        pass


class Handler:
    """Returns `answer`, or raises RuntimeError if there is none. Records the requests' bodies."""

    def __init__(self, answer: PendingAnswer | None = None) -> None:
        self.bodies: list[bytes] = []
        self._answer = answer

    async def handle(self, dialect: Dialect, request: ClientRequest, body: bytes) -> PendingAnswer:
        self.bodies.append(body)
        if self._answer is None:
            raise RuntimeError
        return self._answer


class Route:
    """A route with a fake upstream. It accepts bodies of at most ten bytes."""

    def __init__(self, handler: Handler) -> None:
        self.upstream, self.sent = FakeUpstream(lambda _: FakeResponse([b"{}"])), Sent()
        self._route = CachedRoute(
            handler, ChatCompletions(), Forwarder(self.upstream, Metrics()), 10, Inflight()
        )

    async def ask(self, *pieces: bytes) -> None:
        *rest, last = pieces
        client = Client(*(piece(one, more=True) for one in rest), piece(last))
        await self._route(scope_of(), client, self.sent)


async def test_a_defect_in_the_middle_of_an_answer_cuts_it_and_asks_for_no_other() -> None:
    route = Route(Handler(Broken()))
    with pytest.raises(RuntimeError):
        await route.ask(b"")
    assert [message.get("body") for message in route.sent.messages] == [None, b"half"]
    assert not route.upstream.requests


async def test_a_defect_before_an_answer_costs_none() -> None:
    handler = Handler()
    route = Route(handler)
    await route.ask(b"ten ", b"bytes!")
    assert handler.bodies == [b"ten bytes!"]
    assert route.sent.is_whole
    assert route.sent.headers[b"cache-status"] == b"reprise; fwd=bypass; detail=defect"
    assert len(route.upstream.requests) == 1


async def test_a_body_that_is_too_large_goes_past_the_cache_whole() -> None:
    handler = Handler()
    route = Route(handler)
    await route.ask(b"eleven ", b"byte", b"s")
    assert handler.bodies == []
    assert route.sent.headers[b"cache-status"] == b"reprise; fwd=bypass; detail=body-too-large"
    (asked,) = route.upstream.requests
    assert not isinstance(asked.body, bytes)
    assert [told async for told in asked.body] == [b"eleven ", b"byte", b"s"]
