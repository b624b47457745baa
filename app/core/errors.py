"""Every error of the project, as a tree.

    RepriseError
    ├── ConfigurationError       the start is refused; its text is the one line to print
    ├── BadInput                 a file given to a command is not what it reads; the line to print
    ├── CallFailed               a running proxy or a model did not do what a command asked of it
    ├── NotUnderstood            a body we cannot interpret; it goes on as it came
    ├── Declined                 a dependency does not do one piece of work; no failure of its own
    │   ├── Overloaded           it has too much to do just now
    │   └── NodeAway             the circuit breaker of a cluster's node is open
    ├── DependencyFailed         a dependency failed, and its text, fit for a log, says how
    │   └── NodeFailed           a node of the store's cluster did not answer
    ├── DependencyUnavailable    a dependency of the cache failed; always a miss, never an answer
    ├── UpstreamInterrupted      the upstream's body broke off after its head was sent on
    ├── ClientDisconnected       nobody is left to answer
    └── Refusal                  an answer of our own, in OpenAI's error shape
        ├── InvalidRequest       400
        ├── InvalidAPIKey        401
        ├── InvalidAdminToken    401
        ├── ForbiddenOrigin      403
        ├── PassthroughDisabled  403
        ├── RouteNotFound        404
        ├── EntryNotFound        404
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

Foreign errors are mapped to these once, where they enter: those of the HTTP client in
`upstream/http.py`, those of stores, embedders and verifiers in `engine/resilience.py`.
"""

from typing import ClassVar, Literal

Misread = Literal["not-json", "ambiguous-json", "too-complex", "unknown-body"]
"""Why a body cannot be understood: a token that docs/http-api.md explains."""

Failure = Literal["store-unavailable", "embedder-unavailable", "verifier-unavailable", "defect"]
"""Which dependency of the cache failed, or Reprise itself: docs/http-api.md explains each."""


class RepriseError(Exception):
    """The root of the tree."""


class ConfigurationError(RepriseError):
    """The settings contradict each other or cannot be met; the start is refused."""


class BadInput(RepriseError):
    """What a command was given to read is missing or not what it can use."""


class CallFailed(RepriseError):
    """A running proxy, or a model, cannot be reached or refuses; its text is the line to print."""


class NotUnderstood(RepriseError):
    """A body is not what we know, so nothing may be concluded from it."""

    def __init__(self, detail: Misread) -> None:
        super().__init__(detail)
        self.detail = detail


class Declined(RepriseError):
    """A dependency declines this piece of work, which says nothing about the next one."""


class Overloaded(Declined):
    """A dependency is so busy that waiting for it would take longer than doing without."""


class NodeAway(Declined):
    """The circuit breaker of a cluster's node is open, or nobody has the slot of a key."""


class DependencyFailed(RepriseError):
    """A dependency failed in a way that may be logged: the text holds nothing of a request."""


class NodeFailed(DependencyFailed):
    """A node of a cluster did not answer."""


class DependencyUnavailable(RepriseError):
    """A store or embedder raised, was slow, answered nonsense, or its circuit breaker is open."""

    def __init__(self, detail: Failure) -> None:
        super().__init__(detail)
        self.detail = detail


class UpstreamInterrupted(RepriseError):
    """The upstream's body broke off; the client's is cut at the same place."""


class ClientDisconnected(RepriseError):
    """The client left before its request was read to the end."""


class Refusal(RepriseError):
    """An answer of our own. Subclasses know their status, OpenAI `type` and `code`.

    Shape: https://platform.openai.com/docs/guides/error-codes
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
    """A request to one of our own routes that cannot be understood, or what is no request."""

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


class ForbiddenOrigin(Refusal):
    """A web page or a foreign host name tries to use the key that we hold."""

    status_code = 403
    type = "invalid_request_error"
    code = "forbidden_origin"


class PassthroughDisabled(Refusal):
    """The route exists upstream but `REPRISE_PASSTHROUGH` keeps it closed."""

    status_code = 403
    type = "invalid_request_error"
    code = "passthrough_disabled"


class RouteNotFound(Refusal):
    """The path is neither ours nor below `/v1`."""

    status_code = 404
    type = "invalid_request_error"
    code = "route_not_found"


class EntryNotFound(Refusal):
    """Nothing is stored under the id that an operator named."""

    status_code = 404
    type = "invalid_request_error"
    code = "entry_not_found"


class HeadTooLarge(Refusal):
    """What a request carries beside its body passes the limit (RFC 6585 §5)."""

    status_code = 431
    type = "invalid_request_error"
    code = "head_too_large"


class InternalError(Refusal):
    """A defect of our own."""


class HttpUnsupported(Refusal):
    """The request has a method, or a transfer coding, that a proxy of this kind has no use for."""

    status_code = 501
    type = "invalid_request_error"
    code = "http_unsupported"


class WebSocketUnsupported(Refusal):
    """The client asked to upgrade to a WebSocket."""

    status_code = 501
    type = "invalid_request_error"
    code = "websocket_unsupported"


class UpstreamUnreachable(Refusal):
    """The upstream refused the connection, or closed it without an answer."""

    status_code = 502
    code = "upstream_unreachable"


class ShuttingDown(Refusal):
    """The proxy was told to stop, and the request did not end in time."""

    status_code = 503
    code = "shutting_down"


class TooBusy(Refusal):
    """There are more requests, or connections of this client, than the operator allows."""

    status_code = 503
    code = "too_busy"
    headers = ((b"retry-after", b"1"),)  # seconds (RFC 9110 §10.2.3)


class StoreUnavailable(Refusal):
    """An operator asked for something that the store did not do."""

    status_code = 503
    code = "store_unavailable"


class EmbedderUnavailable(Refusal):
    """An operator's text was not embedded."""

    status_code = 503
    code = "embedder_unavailable"


class NotCached(Refusal):
    """The request said `only-if-cached` and nothing stored answers it (RFC 9111 §5.2.1.7)."""

    status_code = 504
    type = "invalid_request_error"
    code = "not_cached"
    headers = ((b"x-should-retry", b"false"),)


class UpstreamTimeout(Refusal):
    """The upstream was silent for longer than its timeout."""

    status_code = 504
    code = "upstream_timeout"
