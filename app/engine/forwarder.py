"""Sends requests to the upstream, measures how long each request takes, and counts failures."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from app.core.cache_status import BypassReason, CacheStatus, Head
from app.core.errors import NotCached, UpstreamInterrupted, UpstreamTimeout, UpstreamUnreachable
from app.core.metrics import Metrics
from app.core.models import ClientRequest
from app.core.ports import Upstream, UpstreamResponse
from app.rules.headers import cache_control

NOT_CACHED = (
    "No stored answer matches this request, and only-if-cached forbids to ask the upstream."
)


class Forwarder:
    """The only sender of requests to the upstream."""

    def __init__(self, upstream: Upstream, metrics: Metrics) -> None:
        self._upstream = upstream
        self._seconds = metrics.upstream_seconds
        self._failures = metrics.failures.labels("upstream")

    async def send(self, request: ClientRequest) -> UpstreamResponse:
        """Send a request to the upstream and return the response; its body may still be arriving.

        Raises UpstreamUnreachable or UpstreamTimeout.
        """
        try:
            with self._seconds.time():
                response = await self._upstream.send(request)
        except (UpstreamUnreachable, UpstreamTimeout):
            self._failures.inc()
            raise
        return _Watched(response, self._failures.inc)

    def bypass(self, request: ClientRequest, detail: BypassReason) -> "Forwarding":
        """Return the upstream's answer to a request that does not use the cache.

        `detail`: why the request does not use the cache. Raises NotCached if the request has
        `only-if-cached`.
        """
        if cache_control(request.headers).only_if_cached:
            raise NotCached(NOT_CACHED)
        return self.forward(outgoing(request), CacheStatus.bypass(detail))

    def forward(self, request: ClientRequest, status: CacheStatus) -> "Forwarding":
        """Return the upstream's answer to a request, for one client only.

        The request is sent when `head` of the result is called. `status` is put into this head.
        """
        return Forwarding(self, request, status)


class _Watched:
    """A response of the upstream. `on_break` is called if the body ends too early."""

    def __init__(self, response: UpstreamResponse, on_break: Callable[[], None]) -> None:
        self._response = response
        self._on_break = on_break
        self.status_code = response.status_code
        self.headers = response.headers

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._response:
                yield piece
        except UpstreamInterrupted:
            self._on_break()
            raise

    async def aclose(self) -> None:
        await self._response.aclose()


class Forwarding:
    """An answer of the upstream for one client only. Async iteration yields the body.

    Call `aclose` at the end.
    """

    def __init__(self, forwarder: Forwarder, request: ClientRequest, status: CacheStatus) -> None:
        self._forwarder = forwarder
        self._request = request
        self.status = status
        self._response: UpstreamResponse | None = None

    async def head(self) -> Head:
        """Send the request and wait for the head of its answer."""
        response = self._response = await self._forwarder.send(self._request)
        return Head(response.status_code, response.headers, self.status)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._response is not None:
            async for piece in self._response:
                yield piece

    async def aclose(self) -> None:
        """Close the upstream's response. Further calls have no effect."""
        if self._response is not None:
            await self._response.aclose()


def outgoing(request: ClientRequest, *, identity: bool = False) -> ClientRequest:
    """Return a copy of a client's request to send to the upstream.

    The copy has no Cache-Control header, because the client meant this header for Reprise. If
    `identity` is true, the copy asks for an answer without content coding, because the readers of a
    flight may accept different codings.
    """
    dropped = {b"cache-control", b"accept-encoding"} if identity else {b"cache-control"}
    headers = [header for header in request.headers if header[0] not in dropped]
    if identity:
        headers.append((b"accept-encoding", b"identity"))
    return replace(request, headers=headers)
