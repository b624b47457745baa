"""Two upstreams behind one port: each request goes to the one whose API it speaks."""

from contextlib import AsyncExitStack

from app.core.models import ClientRequest
from app.core.ports import Upstream, UpstreamResponse
from app.rules.providers import is_anthropics


class UpstreamByProvider:
    """Sends requests of Anthropic's API to a server of their own, and all others to the upstream.

    Each has its own credentials: no key of one goes to the other.
    """

    def __init__(self, upstream: Upstream, anthropic: Upstream) -> None:
        self._upstream = upstream
        self._anthropic = anthropic

    async def send(self, request: ClientRequest) -> UpstreamResponse:
        """Forward a request. Raises UpstreamUnreachable or UpstreamTimeout."""
        chosen = self._anthropic if is_anthropics(request) else self._upstream
        return await chosen.send(request)

    async def aclose(self) -> None:
        """Close all connections."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._upstream.aclose)
            stack.push_async_callback(self._anthropic.aclose)
