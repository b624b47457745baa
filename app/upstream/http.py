"""Forwards requests to the upstream over HTTP. Bodies are never changed."""

import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx

from app.core.errors import (
    ClientDisconnected,
    ConfigurationError,
    UpstreamInterrupted,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from app.core.key_file import KeyFile
from app.core.models import AZURE, V1, ClientRequest, Header
from app.rules.headers import CREDENTIALS, end_to_end, is_ours
from app.upstream.aiohttp_transport import AiohttpTransport

_NOT_FORWARDED = frozenset({b"host", b"expect"})
_AZURES = b"api-key"  # the header in which Azure OpenAI expects a key


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream server, and the credentials for it.

    `keep_credentials`: whether the client's credential headers are forwarded. If not, these headers
    are removed, and the key of this server is sent instead, if there is one. The key is in
    `key_file` or, without a `key_file`, in `api_key`.
    `connect_timeout`: the greatest number of seconds to wait for a connection.
    `read_timeout`: the greatest number of seconds in which no data are sent or received.
    `setting`: the name of the setting that contains `url`, for error messages.
    `is_anthropic`: whether the server is Anthropic's API. This API gets the key in the header
    `x-api-key`, and never gets the header `api-key`.
    """

    url: str
    api_key: str = field(default="", repr=False)
    keep_credentials: bool = True
    connect_timeout: float = 5.0
    read_timeout: float = 600.0
    setting: str = "REPRISE_UPSTREAM_URL"
    is_anthropic: bool = False
    key_file: KeyFile | None = field(default=None, repr=False)

    def present_key(self) -> str:
        """Return the current key; empty if there is no key."""
        return self.key_file.keys()[0] if self.key_file else self.api_key


class HttpUpstream:
    """An upstream server. Raises ConfigurationError if the URL of `target` is invalid."""

    def __init__(self, target: Target) -> None:
        try:
            base = httpx.URL(target.url)
            proxy = _proxy_for(base)
        except (httpx.InvalidURL, ValueError) as error:
            raise ConfigurationError(f"{target.setting}={target.url}: {error}") from None
        self._target = target
        self._origin = base.copy_with(raw_path=b"/")
        self._base_path = base.raw_path.rstrip(b"/")
        self._azure_path = self._base_path.removesuffix(V1).removesuffix(AZURE) + AZURE
        self._transport = AiohttpTransport(proxy)
        self._timeout = {"connect": target.connect_timeout, "read": target.read_timeout}

    async def send(self, request: ClientRequest) -> "HttpResponse":
        """Forward a request without retries. Return the response as soon as its head has arrived.

        Raises UpstreamUnreachable or UpstreamTimeout. Raises ClientDisconnected if the client
        disconnects before the end of the request's body.
        """
        base_path = self._azure_path if request.prefix == AZURE else self._base_path
        path = base_path + request.path
        body = request.body if isinstance(request.body, bytes) else _Upload(request.body)
        outgoing = httpx.Request(
            request.method,
            self._origin,
            headers=self._headers(request),
            content=body,
            extensions={
                "timeout": self._timeout,
                "target": path + b"?" + request.query if request.query else path,
            },
        )
        try:
            return HttpResponse(await self._transport.handle_async_request(outgoing))
        except httpx.TimeoutException as error:
            raise UpstreamTimeout("The upstream did not answer in time.") from error
        except httpx.TransportError as error:
            if isinstance(body, _Upload) and body.broken:
                raise ClientDisconnected from error
            raise UpstreamUnreachable("The upstream could not be reached.") from error

    def _headers(self, request: ClientRequest) -> list[Header]:
        target = self._target
        dropped = _NOT_FORWARDED if target.keep_credentials else _NOT_FORWARDED | CREDENTIALS
        if target.is_anthropic:
            dropped |= {_AZURES}
        headers = [h for h in request.headers if h[0] not in dropped and not is_ours(h[0])]
        key = target.present_key().encode()
        if key and target.is_anthropic:
            headers.append((b"x-api-key", key))
        elif key and request.prefix == AZURE:
            headers.append((_AZURES, key))
        elif key:
            headers.append((b"authorization", b"Bearer " + key))
        return headers

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


class HttpResponse:
    """A response from the upstream; its body is not decompressed."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status_code = response.status_code
        raw = [(name.lower(), value) for name, value in response.headers.raw]
        self.headers: list[Header] = end_to_end(raw)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._response.aiter_raw():
                yield piece
        except httpx.TransportError as error:
            raise UpstreamInterrupted("the upstream's answer broke off") from error

    async def aclose(self) -> None:
        """Release the connection. If the body has not ended, the connection is closed."""
        await self._response.aclose()


class _Upload:
    """A request body that is being sent. `broken`: whether the client has disconnected."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self.broken = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces:
                yield piece
        except ClientDisconnected:
            self.broken = True
            raise


def _proxy_for(url: httpx.URL) -> str | None:
    """Return the URL of the proxy for requests to `url`, or None if there is no proxy.

    The environment variables HTTP_PROXY, HTTPS_PROXY and NO_PROXY decide which proxy is used.
    """
    if urllib.request.proxy_bypass(url.host):
        return None
    return urllib.request.getproxies().get(url.scheme)
