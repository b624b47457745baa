"""Every error of the project, as a tree.

    RepriseError
    ├── ConfigurationError       Reprise does not start; the error's text is printed to the user
    ├── BadInput                 a command cannot read its input; the error's text is printed
    ├── CallFailed               a command's call to a proxy or model failed; the text is printed
    ├── NotUnderstood            a body that cannot be interpreted; it is forwarded unchanged
    ├── Declined                 a dependency refuses one piece of work; not counted as a failure
    │   ├── Overloaded           the dependency has too much to do at the moment
    │   └── NodeAway             no node of the store's cluster can be asked at the moment
    ├── DependencyFailed         a dependency failed; the error's text says how and may be logged
    │   └── NodeFailed           a node of the store's cluster did not answer
    ├── DependencyUnavailable    a dependency of the cache failed; treated as a cache miss
    ├── UpstreamInterrupted      the body of the upstream's response broke off
    ├── ClientDisconnected       the client has left
    └── Refusal                  an error response made by Reprise, in OpenAI's error format
        ├── InvalidRequest       400
        ├── InvalidAPIKey        401
        ├── InvalidAdminToken    401
        ├── InvalidSession       401
        ├── ForbiddenOrigin      403
        ├── InvalidCsrfToken     403
        ├── PassthroughDisabled  403
        ├── RouteNotFound        404
        ├── EntryNotFound        404
        ├── RequestTimeout       408
        ├── BodyTooLarge         413
        ├── HeadTooLarge         431
        ├── InternalError        500
        ├── HttpUnsupported      501
        ├── WebSocketUnsupported 501
        ├── UpstreamUnreachable  502
        ├── ShuttingDown         503
        ├── TooBusy              503
        ├── StoreUnavailable     503
        ├── EmbedderUnavailable  503
        ├── NotCached            504
        └── UpstreamTimeout      504

Two modules turn the exceptions of libraries into these errors: `upstream/http.py` for the HTTP
client, and `engine/resilience.py` for stores, embedders and verifiers.
"""

from typing import ClassVar, Literal

Misread = Literal["not-json", "ambiguous-json", "too-complex", "unknown-body"]
"""Why a body cannot be understood. docs/http-api.md explains each value."""

Failure = Literal["store-unavailable", "embedder-unavailable", "verifier-unavailable", "defect"]
"""Which part of the cache failed; `defect` means a bug in Reprise. See docs/http-api.md."""


class RepriseError(Exception):
    """The base class of every error in this project."""


class ConfigurationError(RepriseError):
    """Reprise does not start: settings contradict each other or cannot be applied."""


class BadInput(RepriseError):
    """The input file of a command is missing or has content that the command cannot use."""


class CallFailed(RepriseError):
    """A command's call to a proxy or model failed. The error's text is printed to the user."""


class NotUnderstood(RepriseError):
    """A body does not have the expected format, so the cache must not interpret it."""

    def __init__(self, detail: Misread) -> None:
        super().__init__(detail)
        self.detail = detail


class Declined(RepriseError):
    """A dependency refuses one piece of work, but may accept the next piece."""


class Overloaded(Declined):
    """A dependency is too busy. To wait for it would cost more than to go on without it."""


class NodeAway(Declined):
    """No node of the store's cluster can be asked about a key.

    Either no node has the hash slot of the key, or the circuit breaker of the node is open.
    """


class DependencyFailed(RepriseError):
    """A dependency failed. The error's text may be logged: it contains no data of a request."""


class NodeFailed(DependencyFailed):
    """A node of the store's cluster did not answer."""


class DependencyUnavailable(RepriseError):
    """A dependency of the cache cannot be used at the moment.

    The dependency raised an error, timed out or gave an invalid result, or its circuit breaker is
    open.
    """

    def __init__(self, detail: Failure) -> None:
        super().__init__(detail)
        self.detail = detail


class UpstreamInterrupted(RepriseError):
    """The body of the upstream's response broke off.

    The body sent to the client breaks off at the same byte.
    """


class ClientDisconnected(RepriseError):
    """The client closed the connection before its whole request was read."""


class Refusal(RepriseError):
    """An error response made by Reprise. Each subclass sets the HTTP status, `type` and `code`.

    Format: https://platform.openai.com/docs/guides/error-codes
    """

    status_code: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"
    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the JSON document that the client receives."""
        return {
            "error": {"message": str(self), "type": self.type, "param": None, "code": self.code}
        }


class InvalidRequest(Refusal):
    """A request to one of Reprise's own routes is invalid, or the bytes are not an HTTP request."""

    status_code = 400
    type = "invalid_request_error"
    code = "invalid_request"


class InvalidAPIKey(Refusal):
    """The request carries none of the keys that `REPRISE_API_KEYS` lists."""

    status_code = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    headers = ((b"www-authenticate", b"Bearer"),)


class InvalidAdminToken(Refusal):
    """The request to an admin route does not carry `REPRISE_ADMIN_TOKEN`."""

    status_code = 401
    type = "invalid_request_error"
    code = "invalid_admin_token"
    headers = ((b"www-authenticate", b"Bearer"),)


class InvalidSession(Refusal):
    """A request from the dashboard has no session, or its session has ended."""

    status_code = 401
    type = "invalid_request_error"
    code = "invalid_session"
    headers = ((b"www-authenticate", b"Cookie"),)


class InvalidCsrfToken(Refusal):
    """A request to change something lacks the CSRF token of its dashboard session."""

    status_code = 403
    type = "invalid_request_error"
    code = "invalid_csrf_token"


class ForbiddenOrigin(Refusal):
    """The web page that sent a request, or the host name in the request, is not allowed."""

    status_code = 403
    type = "invalid_request_error"
    code = "forbidden_origin"


class PassthroughDisabled(Refusal):
    """`REPRISE_PASSTHROUGH` forbids forwarding, or the path is outside the upstream's base path."""

    status_code = 403
    type = "invalid_request_error"
    code = "passthrough_disabled"


class RouteNotFound(Refusal):
    """The path is neither one of Reprise's own routes nor below `/v1`."""

    status_code = 404
    type = "invalid_request_error"
    code = "route_not_found"


class EntryNotFound(Refusal):
    """No entry is stored under the id that an operator gave."""

    status_code = 404
    type = "invalid_request_error"
    code = "entry_not_found"


class RequestTimeout(Refusal):
    """A client did not send the rest of its request in time (RFC 9110 §15.5.9)."""

    status_code = 408
    type = "invalid_request_error"
    code = "request_timeout"


class BodyTooLarge(Refusal):
    """The body of a request to one of Reprise's own routes is too large (RFC 9110 §15.5.14)."""

    status_code = 413
    type = "invalid_request_error"
    code = "body_too_large"


class HeadTooLarge(Refusal):
    """The request line, headers or trailers are larger than the limit (RFC 6585 §5)."""

    status_code = 431
    type = "invalid_request_error"
    code = "head_too_large"


class InternalError(Refusal):
    """A bug in Reprise."""


class HttpUnsupported(Refusal):
    """Reprise does not support the request's HTTP version, method or transfer coding."""

    status_code = 501
    type = "invalid_request_error"
    code = "http_unsupported"


class WebSocketUnsupported(Refusal):
    """The client asked to upgrade to a WebSocket."""

    status_code = 501
    type = "invalid_request_error"
    code = "websocket_unsupported"


class UpstreamUnreachable(Refusal):
    """The upstream refused the connection or closed it without sending a response."""

    status_code = 502
    code = "upstream_unreachable"


class ShuttingDown(Refusal):
    """The proxy is shutting down and the request did not finish within the grace period."""

    status_code = 503
    code = "shutting_down"


class TooBusy(Refusal):
    """There are more requests, or more connections from one client, than the operator allows."""

    status_code = 503
    code = "too_busy"
    headers = ((b"retry-after", b"1"),)  # seconds (RFC 9110 §10.2.3)


class StoreUnavailable(Refusal):
    """The store failed to do what an operator's request asked for."""

    status_code = 503
    code = "store_unavailable"


class EmbedderUnavailable(Refusal):
    """The embedder failed to embed a text in an operator's request."""

    status_code = 503
    code = "embedder_unavailable"


class NotCached(Refusal):
    """The request says `only-if-cached`, but no stored response answers it (RFC 9111 §5.2.1.7)."""

    status_code = 504
    type = "invalid_request_error"
    code = "not_cached"
    headers = ((b"x-should-retry", b"false"),)


class UpstreamTimeout(Refusal):
    """The upstream sent nothing within the configured timeout."""

    status_code = 504
    code = "upstream_timeout"
