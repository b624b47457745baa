"""Separates the operators' port from the API's port."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.responses import refuse
from app.core.errors import RouteNotFound

_ANYWHERE = frozenset({"/healthz", "/readyz"})
_OPERATORS = re.compile(r"/(?:metrics|(?:cache|dashboard)(?:/.*)?)", re.DOTALL)


class OperatorsListener:
    """Serves each path only on the port for which it is meant.

    Metrics and operators' routes are served only on `port`, the operators' port. Health checks are
    served on all ports. All other paths are served only on the other ports. Only the port of the
    connection matters. A port in the Host header is ignored.
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
