"""Heads of requests that go no further, because others could take them for something else."""

import re
from collections.abc import Sequence

from app.core.errors import HttpUnsupported, InvalidRequest, Refusal
from app.core.models import Header

_METHODS_UNSUPPORTED = frozenset({b"CONNECT", b"TRACE"})
_VERSIONS = frozenset({"1.0", "1.1"})
# uri-host [ ":" port ] (RFC 9110 §7.2, RFC 3986 §3.2.2); empty is one, too.
_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.%_~-]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(?::[0-9]*)?")


def why_refused(method: bytes, version: str, headers: Sequence[Header]) -> Refusal | None:
    """Return why a whole head goes no further, if it does not.

    A tunnel would lead past the cache, and TRACE would show the caller's credentials (RFC 9110
    §9.3.6, §9.3.8). Who reads another Host than we do takes the request for another one (RFC 9112
    §3.2); of transfer codings we read `chunked` alone, which HTTP/1.0 does not know (§6.1).
    """
    if version not in _VERSIONS:
        return HttpUnsupported("Of HTTP, versions 1.0 and 1.1 are supported.")
    if method in _METHODS_UNSUPPORTED:
        return HttpUnsupported("This method is not supported.")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        return InvalidRequest("A request has one Host.")
    if hosts and not _HOST.fullmatch(hosts[0]):
        return InvalidRequest("The Host is none.")
    codings = b",".join(value for name, value in headers if name == b"transfer-encoding")
    if codings and version == "1.0":
        return InvalidRequest("HTTP/1.0 has no transfer codings.")
    if codings and codings.strip().lower() != b"chunked":
        return HttpUnsupported("Of transfer codings only chunked is supported.")
    return None
