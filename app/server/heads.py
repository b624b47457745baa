"""Refuses heads of requests that Reprise does not support or that servers may read differently."""

import re
from collections.abc import Sequence

from app.core.errors import HttpUnsupported, InvalidRequest, Refusal
from app.core.models import Header

_METHODS_UNSUPPORTED = frozenset({b"CONNECT", b"TRACE"})
_VERSIONS = frozenset({"1.0", "1.1"})
# uri-host [ ":" port ] (RFC 9110 §7.2, RFC 3986 §3.2.2). An empty value is valid, too.
_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.%_~-]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(?::[0-9]*)?")


def why_refused(method: bytes, version: str, headers: Sequence[Header]) -> Refusal | None:
    """Return the Refusal for a request with this head, or None if the head is allowed.

    CONNECT would open a tunnel past the cache (RFC 9110 §9.3.6). TRACE would reveal the caller's
    credentials (RFC 9110 §9.3.8). If there are several Host fields, Reprise and the upstream could
    choose different ones (RFC 9112 §3.2). The only supported transfer coding is `chunked`. HTTP/1.0
    has no transfer codings (RFC 9112 §6.1).
    """
    if version not in _VERSIONS:
        return HttpUnsupported("Only HTTP/1.0 and HTTP/1.1 are supported.")
    if method in _METHODS_UNSUPPORTED:
        return HttpUnsupported("The methods CONNECT and TRACE are not supported.")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        return InvalidRequest("A request must have exactly one Host header.")
    if hosts and not _HOST.fullmatch(hosts[0]):
        return InvalidRequest("The value of the Host header is not valid.")
    codings = b",".join(value for name, value in headers if name == b"transfer-encoding")
    if codings and version == "1.0":
        return InvalidRequest("An HTTP/1.0 request cannot have a Transfer-Encoding header.")
    if codings and codings.strip().lower() != b"chunked":
        return HttpUnsupported("The only supported transfer coding is chunked.")
    return None
