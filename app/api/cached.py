"""The endpoint of a cached route, for one dialect."""

from typing import Protocol

from starlette.types import Receive, Scope, Send

from app.api.request import RequestReader, client_request
from app.api.responses import respond
from app.core.cache_status import BypassReason, Replay
from app.core.defects import log_defect
from app.core.errors import ClientDisconnected, Refusal, UpstreamInterrupted
from app.core.inflight import Hold, Inflight
from app.core.models import ClientRequest
from app.dialects.dialect import Dialect
from app.engine.answers import PendingAnswer
from app.engine.forwarder import Forwarder


class Handler(Protocol):
    """Answers requests whose body has been read; see `engine/handler.py`."""

    async def handle(
        self, dialect: Dialect, request: ClientRequest, body: bytes
    ) -> Replay | PendingAnswer:
        """Return the answer to `request`, whose body is `body`."""


class CachedRoute:
    """Answers the requests of one route.

    A request is forwarded without the cache in three cases:
    - Its body has more than `max_bytes` bytes.
    - The process already holds so many bytes that there is no room for the body.
    - A bug in this program raises an error before any part of an answer has been sent.
    """

    def __init__(
        self,
        handler: Handler,
        dialect: Dialect,
        forwarder: Forwarder,
        max_bytes: int,
        inflight: Inflight,
    ) -> None:
        self._handler = handler
        self._dialect = dialect
        self._forwarder = forwarder
        self._max_bytes = max_bytes
        self._inflight = inflight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with Hold(self._inflight) as hold:
            await self._respond(scope, RequestReader(receive, hold), send)

    async def _respond(self, scope: Scope, incoming: RequestReader, send: Send) -> None:
        body = await incoming.body(self._max_bytes)
        if body is None:
            why: BypassReason = "no-room" if self._inflight.is_full else "body-too-large"
            request = client_request(scope, incoming.stream())
            await respond(self._forwarder.bypass(request, why), scope, incoming, send)
            return
        request = client_request(scope, body)
        try:
            answer = await self._handler.handle(self._dialect, request, body)
            await respond(answer, scope, incoming, send)
        except (Refusal, ClientDisconnected, UpstreamInterrupted):
            raise
        except Exception as error:
            if "cache_status" in scope["state"]:  # a part of an answer has been sent
                raise
            log_defect(error)
            await respond(self._forwarder.bypass(request, "defect"), scope, incoming, send)
