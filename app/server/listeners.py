"""A separate listener for operators, in addition to the one for the API."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.responses import refuse
from app.core.errors import RouteNotFound

_ANYWHERE = frozenset({"/healthz", "/readyz"})
_OPERATORS = re.compile(r"/(?:metrics|(?:cache|dashboard)(?:/.*)?)", re.DOTALL)


class OperatorsListener:
    """Serves metrics and operators' routes only on the operators' port, and health on every port.

    What counts is the port on which the connection arrived, not a port that the client names.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_here(scope):
            await refuse(RouteNotFound("This path is not served on this port."), scope, send)
            return
        await self._app(scope, receive, send)

    def _is_here(self, scope: Scope) -> bool:
        if scope["path"] in _ANYWHERE:
            return True
        is_operators = _OPERATORS.fullmatch(scope["path"]) is not None
        port: int = scope["server"][1]
        return is_operators == (port == self._port)
