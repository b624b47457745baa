"""The routes of the API that are not cached: requests are forwarded unchanged, as streams."""

import re
from dataclasses import replace
from enum import StrEnum

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.request import RequestReader, client_request
from app.api.responses import respond
from app.core.errors import PassthroughDisabled
from app.core.inflight import Hold, Inflight
from app.core.models import ClientRequest
from app.engine.deletions import Deletions
from app.rules.providers import is_anthropics

# Only characters that an upstream cannot decode into another path.
_MODELS = re.compile(rb"/models(/[\w.:@+~-]+)*", re.ASCII)
_COUNTING = b"/messages/count_tokens"


class Passthrough(StrEnum):
    """Which uncached routes are forwarded: all (`ON`), none (`OFF`), or the safe ones (`MODELS`).

    The routes that are safe for any caller are GET `/models`, GET `/models/{id}` and POST
    `/messages/count_tokens`.
    """

    ON = "on"
    MODELS = "models"
    OFF = "off"

    @classmethod
    def of(cls, setting: str, *, is_own: bool) -> "Passthrough":
        """Return the value that a setting stands for.

        `is_own` says whether the client's own credential is forwarded. The setting "auto" means
        `ON` if `is_own` is true, and `MODELS` if `is_own` is false.
        """
        if setting == "auto":
            return cls.ON if is_own else cls.MODELS
        return cls(setting)


class OtherRoutes(BaseRoute):
    """A route that matches every method and path, so it must come after all other routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.FULL if scope["type"] == "http" else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class PassthroughRoutes:
    """Forwards requests without interpreting them.

    Raises RouteNotFound for a path outside the API. Raises PassthroughDisabled for a route that is
    not forwarded.

    `anthropics` says which routes of Anthropic's API are forwarded. `passthrough` says the same
    for the other routes.
    """

    def __init__(
        self,
        forwarder: Deletions,
        passthrough: Passthrough,
        anthropics: Passthrough,
        inflight: Inflight,
    ) -> None:
        self._forwarder = forwarder
        self._passthrough = passthrough
        self._anthropics = anthropics
        self._inflight = inflight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with Hold(self._inflight) as hold:
            await self._pass_through(scope, RequestReader(receive, hold), send)

    async def _pass_through(self, scope: Scope, incoming: RequestReader, send: Send) -> None:
        request = client_request(scope, incoming.stream())
        passthrough = self._anthropics if is_anthropics(request) else self._passthrough
        if not is_open(request, passthrough):
            raise PassthroughDisabled(
                "This route is not forwarded to the upstream; see the setting REPRISE_PASSTHROUGH."
            )
        if not _has_body(scope):
            request = replace(request, body=await incoming.body(limit=0) or b"")
        answer = self._forwarder.pass_through(request)
        await respond(answer, scope, incoming, send)


def is_open(request: ClientRequest, passthrough: Passthrough) -> bool:
    """Whether `passthrough` allows a request to be forwarded."""
    if passthrough is Passthrough.ON:
        return True
    if passthrough is Passthrough.OFF:
        return False
    if request.method == "POST":
        return request.path == _COUNTING
    return request.method in {"GET", "HEAD"} and _MODELS.fullmatch(request.path) is not None


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )
