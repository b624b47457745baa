"""The routes of the dashboard: its files, login and logout, and the operators' endpoints.

A session is held in a cookie with the path `/dashboard`. Browsers send this cookie to no other
path, so it never takes part in a request to the API. A request that changes something also needs a
CSRF token in a header. Only pages of the dashboard's origin can read that token.
"""

import hmac
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from app.api.admin.documents import document_of, refuse_unknown
from app.api.admin.routes import Operation, router_of
from app.api.auth import ApiKeys
from app.api.dashboard.headers import PREFIX
from app.api.dashboard.sessions import LIFETIME, Sessions
from app.api.middleware import is_loopback
from app.core.errors import (
    ForbiddenOrigin,
    InvalidAdminToken,
    InvalidCsrfToken,
    InvalidSession,
    RouteNotFound,
)
from app.core.models import Clock

COOKIE = "reprise_dashboard"
CSRF = "x-csrf-token"

_FILES = Path(__file__).parent.parent.parent / "data" / "dashboard"
_TYPES = MappingProxyType({".html": "text/html", ".css": "text/css", ".js": "text/javascript"})
_PAGE = "index.html"
_USED = frozenset({"stats", "report", "review", "entries", "search", "feedback", "pin", "explain"})

_logger = logging.getLogger("reprise.admin")


def dashboard_routes(
    operations: Iterable[Operation], token: str, clock: Clock
) -> Iterator[APIRouter]:
    """Yield the routers of the dashboard.

    If `token` is empty, yield nothing, so that the dashboard's paths return 404.
    """
    if not token:
        return
    doors = _Doors(token, clock)
    shown = _Files()
    files = APIRouter()
    files.add_api_route(PREFIX, shown.page, methods=["GET", "HEAD"])
    files.add_api_route(f"{PREFIX}/", shown.beside, methods=["GET", "HEAD"])
    files.add_api_route(f"{PREFIX}/{{name}}", shown.file, methods=["GET", "HEAD"])
    used = [op for op in operations if op.path.split("/")[1] in _USED]
    api = f"{PREFIX}/api"
    yield router_of(api, [Operation("POST", "/login", doors.log_in)], check_site)
    own = [
        Operation("GET", "/session", doors.session),
        Operation("POST", "/logout", doors.log_out),
    ]
    yield router_of(api, [*own, *used], doors.check)
    yield files


class _Files:
    """The dashboard's page, and the files that the page loads. They are read from the disk once."""

    def __init__(self) -> None:
        self._responses: Mapping[str, tuple[bytes, str]] = {
            path.name: (path.read_bytes(), _TYPES[path.suffix])
            for path in _FILES.iterdir()
            if path.suffix in _TYPES
        }

    async def page(self) -> Response:
        """Return the page. The page shows no data before an operator logs in."""
        return self._response(_PAGE)

    async def beside(self) -> Response:
        """Redirect `/dashboard/` to `/dashboard`.

        The page's links are relative to the path without the slash.
        """
        return RedirectResponse("../dashboard", 308)

    async def file(self, name: str) -> Response:
        """Return a file that the page loads."""
        return self._response(name)

    def _response(self, name: str) -> Response:
        if (known := self._responses.get(name)) is None:
            raise RouteNotFound("The dashboard has no such file.")
        content, media_type = known
        return Response(content, media_type=media_type)


class _Doors:
    """Handles login and logout, and checks the requests of a session."""

    def __init__(self, token: str, clock: Clock) -> None:
        self._token = ApiKeys([token])
        self._sessions = Sessions(token, clock)

    def check(self, request: Request) -> None:
        """Raise a Refusal if a request has no valid session.

        Every request except a GET must also have the CSRF token of its session. A request from a
        page of another origin is always refused.
        """
        check_site(request)
        session = self._session_of(request)
        if request.method == "GET":
            return
        told = request.headers.get(CSRF, "").encode("latin-1")
        if not hmac.compare_digest(told, self._sessions.csrf_token(session).encode()):
            raise InvalidCsrfToken("The CSRF token is missing or is not that of the session.")

    def _session_of(self, request: Request) -> str:
        session = request.cookies.get(COOKIE, "")
        if not self._sessions.holds(session):
            raise InvalidSession("Log in with the admin token.")
        return session

    async def log_in(self, request: Request) -> JSONResponse:
        """Open a session and return its CSRF token.

        Raises InvalidAdminToken if the body does not contain the admin token.
        """
        document = await document_of(request)
        refuse_unknown(document, "token")
        told = str(document.get("token", "")).encode("utf-8")
        if not self._token.knows([(b"authorization", b"Bearer " + told)]):
            _logger.warning("a login to the dashboard was refused")
            raise InvalidAdminToken("Incorrect admin token provided.")
        _logger.info("logged in to the dashboard")
        session = self._sessions.new()
        response = JSONResponse({"csrf": self._sessions.csrf_token(session)})
        return _with_cookie(response, request, session, LIFETIME)

    async def session(self, request: Request) -> JSONResponse:
        """Return the CSRF token of the session in the request's cookie."""
        return JSONResponse({"csrf": self._sessions.csrf_token(self._session_of(request))})

    async def log_out(self, request: Request) -> JSONResponse:
        """End the session and remove its cookie."""
        self._sessions.end(self._session_of(request))
        _logger.info("logged out of the dashboard")
        return _with_cookie(JSONResponse({}), request, "", 0)


def check_site(request: Request) -> None:
    """Raise ForbiddenOrigin if the browser says that a page of another origin sent the request."""
    if request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        raise ForbiddenOrigin("Another page may not use the dashboard.")


def _with_cookie(
    response: JSONResponse, request: Request, session: str, seconds: int
) -> JSONResponse:
    """Return `response` with a cookie for `session`. The cookie lives for `seconds`.

    The browser sends the cookie over HTTPS only. There is one exception: a page that was loaded
    over HTTP from a loopback address. The header `Origin` shows how the page was loaded, even if
    another proxy in front of this proxy ends TLS.
    """
    origin = urlsplit(request.headers.get("origin", ""))
    is_plain = origin.scheme == "http" and is_loopback(origin.hostname or "")
    response.set_cookie(
        COOKIE,
        session,
        max_age=seconds,
        path=PREFIX,
        secure=not is_plain,
        httponly=True,
        samesite="strict",
    )
    return response
