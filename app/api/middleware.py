"""ASGI middleware that every request and response passes through."""

import asyncio
import functools
import ipaddress
import logging
import re
import time
from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth import ApiKeys
from app.api.paths import CACHED, is_api, route_of
from app.api.responses import refuse
from app.core.cache_status import CacheStatus
from app.core.defects import log_defect
from app.core.errors import (
    ClientDisconnected,
    ForbiddenOrigin,
    InternalError,
    InvalidAPIKey,
    Refusal,
    ShuttingDown,
    TooBusy,
    WebSocketUnsupported,
)
from app.core.inflight import Inflight
from app.core.key_file import KeyFile
from app.core.metrics import Metrics
from app.core.models import Header
from app.rules.headers import ORIGIN, value_of
from app.rules.key import KeyRules, tells_callers_apart

_AUTHORITY = re.compile(r"(?:\[([0-9a-fA-F:.]*:[0-9a-fA-F:.]*)\]|([\w.-]+))(?::\d+)?", re.ASCII)

_CORS = b"access-control-"

_logger = logging.getLogger("reprise")
_access = logging.getLogger("reprise.access")


class ExchangeMiddleware:
    """Turns exceptions into error responses. Counts and logs how each request ended.

    Only requests to the API are counted and logged. Their content is never logged.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._counter_of = functools.cache(metrics.requests.labels)
        self._shadow_of = functools.cache(metrics.shadow.labels)
        self._tally = metrics.tally
        self._note_inflight = metrics.note_inflight
        self._latencies = metrics.latencies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        status_code = 0

        async def watched_send(message: Message) -> None:
            nonlocal status_code
            if message["type"] == "http.response.start":
                status_code = message["status"]
            await send(message)

        scope.setdefault("state", {})
        refusal = await self._run(scope, receive, watched_send)
        if refusal is not None and not status_code:
            await refuse(refusal, scope, watched_send)
        if is_api(scope["path"]):
            self._note(scope, status_code, time.perf_counter() - begin)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> Refusal | None:
        """Run the application. Return the Refusal for an exception that the application raised.

        Return None if there was no exception, or if the client has disconnected.
        """
        try:
            await self._app(scope, receive, send)
        except ClientDisconnected:
            return None
        except asyncio.CancelledError:
            return ShuttingDown("Reprise is shutting down.")
        except Refusal as refusal:
            return refusal
        except Exception as error:  # noqa: BLE001 - no other code would catch it
            log_defect(error)
            return InternalError("Reprise failed because of a bug; its log has the details.")
        return None

    def _note(self, scope: Scope, status_code: int, seconds: float) -> None:
        status: CacheStatus | None = scope["state"].get("cache_status")
        outcome = status.outcome.value if status else "REFUSED" if status_code else "ABANDONED"
        tier = status.tier.value if status and status.tier else ""
        detail = (status.detail if status else None) or ""
        route = CACHED.get(route_of(scope["path"]) or "", "other")
        self._counter_of(route, outcome, tier).inc()
        if route != "other":
            self._tally.add(f"requests.{outcome}.{tier}")
            if status:
                self._latencies.add(tier if outcome == "HIT" else outcome.lower(), seconds)
        self._note_inflight()
        if status and (shadow := status.shadow):
            shadow_tier = shadow.tier.value if shadow.tier else ""
            self._shadow_of(shadow.outcome.value, shadow_tier).inc()
            self._tally.add(f"shadow.{shadow.outcome.value}.{shadow_tier}")
        if _access.isEnabledFor(logging.INFO):
            fields = {
                "method": scope["method"],
                "path": scope["raw_path"].decode("latin-1"),
                "status": status_code,
                "milliseconds": round(1000 * seconds, 1),
                "outcome": outcome,
                "tier": tier,
                "detail": detail,
            }
            _access.info("request", extra={"fields": fields})


class CorsMiddleware:
    """Allows web pages of the given origins, or of all origins (`*`), to call the API (CORS).

    Preflight requests are answered here, because browsers send no key with them. The upstream's
    CORS headers are replaced, because the operator of this proxy decides which pages may read the
    answers.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._cors = CORSMiddleware(
            self._run,
            allow_origins=origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=["*"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_ours = scope["type"] == "http" and is_api(scope["path"])
        await (self._cors if is_ours else self._app)(scope, receive, send)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", [])
                headers = [h for h in headers if not h[0].startswith(_CORS)]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_without_cors)


class GateMiddleware:
    """Refuses requests to the API that lack a key or come from a web page that is not allowed.

    If `key_file` is given, a client must send one of the keys in that file. Otherwise a client must
    send one of `keys`. If there are no keys at all, a client needs none.

    If `guard_origin` is true, web pages of unknown origins are refused. Such a page could use the
    proxy's key for the upstream, or read the answers of all callers. The header `Origin` must be
    absent or one of `origins`, and the header `Host` must be a loopback name. A page that rebinds
    its DNS name to this machine cannot forge `Host`.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Sequence[str],
        *,
        guard_origin: bool,
        origins: Sequence[str] = (),
        key_file: KeyFile | None = None,
    ) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._file = key_file
        self._keys = key_file.keys() if key_file else keys
        self._keyring = ApiKeys(self._keys)
        self._guard_origin = guard_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_api(scope["path"]):
            headers = scope["headers"]
            if self._guard_origin:
                _check_origin(headers, self._origins)
            keyring = self._present_keys()
            if keyring and not keyring.knows(headers):
                raise InvalidAPIKey("Incorrect API key provided.")
            if (value_of(headers, b"upgrade") or "").lower() == "websocket":
                raise WebSocketUnsupported("WebSockets are not supported.")
        await self._app(scope, receive, send)

    def _present_keys(self) -> ApiKeys:
        if self._file is not None and (keys := self._file.keys()) is not self._keys:
            self._keys, self._keyring = keys, ApiKeys(keys)
        return self._keyring


class CrowdMiddleware:
    """Refuses requests to the API while the proxy is answering too many other requests.

    `most` is the number of requests to the API that may be answered at the same time; 0 means no
    limit. A request is also refused while the process holds too many bytes of requests and answers.

    Requests for health, metrics and operators' routes are never refused, because operators need
    these most under load.
    """

    def __init__(self, app: ASGIApp, most: int, inflight: Inflight) -> None:
        self._app = app
        self._most = most  # 0: any number
        self._inflight = inflight
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_api(scope["path"]):
            await self._app(scope, receive, send)
            return
        if self._inflight.is_overfull:
            raise TooBusy(
                "The proxy holds too many bytes of requests and answers; try again later."
            )
        if self._most and self._under_way >= self._most:
            raise TooBusy("The proxy is answering too many requests; try again later.")
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1


class StrangersMiddleware:
    """Logs a warning at the first request without a credential.

    All callers without a credential share answers.
    """

    def __init__(self, app: ASGIApp, rules: KeyRules) -> None:
        self._app = app
        self._rules = rules
        self._has_warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._has_warned and scope["type"] == "http" and route_of(scope["path"]):
            self._note(scope["headers"])
        await self._app(scope, receive, send)

    def _note(self, headers: Sequence[Header]) -> None:
        if not tells_callers_apart(headers, self._rules):
            self._has_warned = True
            _logger.warning(
                "a request had no credential: all callers without one share answers; set "
                "REPRISE_API_KEYS, or name a header that tells callers apart in REPRISE_KEY_HEADERS"
            )


def _check_origin(headers: Sequence[Header], origins: frozenset[str]) -> None:
    origin = value_of(headers, ORIGIN)
    if origin is not None and "*" not in origins and origin not in origins:
        raise ForbiddenOrigin(
            "Web pages of this origin may not use the proxy. To allow them, add the origin to "
            "REPRISE_CORS_ORIGINS, or set REPRISE_API_KEYS."
        )
    if not is_loopback(_host_name(value_of(headers, b"host") or "")):
        raise ForbiddenOrigin(
            "The Host header must be a loopback name, such as localhost. To allow other names, set "
            "REPRISE_API_KEYS."
        )


def _host_name(authority: str) -> str:
    """Return the host in an authority (RFC 9110 §4.2.1).

    The host is an empty string if `authority` is invalid.
    """
    match = _AUTHORITY.fullmatch(authority)
    return (match[1] or match[2]) if match else ""


def is_loopback(host: str) -> bool:
    """Whether `host` is `localhost`, an address in 127.0.0.0/8, or ::1."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
