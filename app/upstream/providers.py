"""An Upstream with two servers. The API of a request decides which server gets the request."""

from contextlib import AsyncExitStack

from app.core.models import ClientRequest
from app.core.ports import Upstream, UpstreamResponse
from app.rules.providers import is_anthropics


class UpstreamByProvider:
    """Sends requests for Anthropic's API to `anthropic`, and all other requests to `upstream`.

    Each server has its own credentials. The key of one server is never sent to the other server.
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
