"""HTTP: end-to-end headers, Cache-Control in requests, Cache-Status and Age in responses."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.core.cache_status import CacheStatus, Saved, Tier
from app.core.models import Header
from app.core.money import A_DOLLAR

CACHE_NAME = "reprise"

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers for a single connection (RFC 9110 §7.6.1), including obsolete ones."""

CREDENTIALS = frozenset({b"authorization", b"api-key", b"x-api-key", b"cookie"})
"""Headers that identify the caller."""

ORIGIN, ALLOW_ORIGIN = b"origin", b"access-control-allow-origin"
"""The origin of the web page that asks, and the origins whose pages may read the answer.

Source: https://fetch.spec.whatwg.org
"""

_OURS = b"x-cache-"

_DIRECTIVE = re.compile(r'([!#$%&\'*+\-.^_`|~\w]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,;]*))?')
_DELTA_SECONDS = re.compile(r"[0-9]+")
_MUST_REVALIDATE = frozenset({"must-revalidate", "proxy-revalidate", "s-maxage"})
_NO_WEIGHT = re.compile(r"\s*q\s*=\s*0(?:\.0*)?\s*")
_FOR_EVER = 2**31  # seconds; longer times are reduced to it (RFC 9111 §1.2.2)


@dataclass(frozen=True, slots=True)
class CacheControl:
    """The Cache-Control directives that Reprise obeys (RFC 9111 §5.2, RFC 5861), in seconds."""

    no_store: bool = False
    no_cache: bool = False
    must_revalidate: bool = False
    only_if_cached: bool = False
    max_age: float | None = None
    max_stale: float | None = None
    min_fresh: float | None = None
    stale_if_error: float | None = None


_NO_DIRECTIVES = CacheControl()


def value_of(headers: Iterable[Header], name: bytes) -> str | None:
    """Return the value of the first header with this name, or None."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


def accepts_coding(headers: Iterable[Header], coding: str) -> bool:
    """Whether a request accepts a content coding by its `Accept-Encoding` (RFC 9110 §12.5.3).

    If `coding` contains several codings, separated by commas, all must be accepted. Without
    `Accept-Encoding` the result is False. The RFC would allow any coding, but most clients without
    `Accept-Encoding` cannot decode.
    """
    told = b",".join(value for name, value in headers if name == b"accept-encoding")
    accepted = dict[str, bool]()
    for item in told.decode("latin-1").lower().split(","):
        name, _, weight = item.partition(";")
        accepted[name.strip()] = _NO_WEIGHT.fullmatch(weight) is None
    codings = (one.removeprefix("x-") for one in coding.split(", "))
    return all(accepted.get(one, accepted.get("*", False)) for one in codings)


def credentials(headers: Iterable[Header]) -> list[Header]:
    """Return the headers that identify the caller."""
    return [header for header in headers if header[0] in CREDENTIALS]


def end_to_end(headers: Sequence[Header]) -> list[Header]:
    """Return the end-to-end headers of a message.

    Hop-by-hop headers and the headers that Connection names are left out. Credentials and headers
    for this cache are always returned, even if Connection names them. Without credentials, all
    callers would share answers.
    """
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection":
            named.update(token.strip().lower() for token in value.split(b","))
    named = {name for name in named if name not in CREDENTIALS and not is_ours(name)}
    return [h for h in headers if h[0] not in HOP_BY_HOP and h[0] not in named]


def is_ours(name: bytes) -> bool:
    """Whether a request header is meant for this cache and must not be forwarded."""
    return name.startswith(_OURS)


def cache_control(headers: Iterable[Header]) -> CacheControl:
    """Return the directives of all Cache-Control headers. Unknown directives are ignored.

    If a directive is repeated, the first one counts. An invalid number counts as 0, because a
    response with invalid freshness information is stale (RFC 9111 §4.2.1). The same rule is used
    for requests.
    """
    value = ",".join(v.decode("latin-1") for k, v in headers if k == b"cache-control")
    if not value:
        return _NO_DIRECTIVES
    directives: dict[str, str] = {}
    for match in _DIRECTIVE.finditer(value):
        name, said = match[1].lower(), match[2]
        if said is None and name == "max-stale":
            said = str(_FOR_EVER)  # without a value, it accepts answers of any staleness
        directives.setdefault(name, (said or "").strip('"'))
    return CacheControl(
        no_store="no-store" in directives,
        no_cache="no-cache" in directives,
        must_revalidate=not _MUST_REVALIDATE.isdisjoint(directives),
        only_if_cached="only-if-cached" in directives,
        max_age=seconds_of(directives.get("max-age")),
        max_stale=seconds_of(directives.get("max-stale")),
        min_fresh=seconds_of(directives.get("min-fresh")),
        stale_if_error=seconds_of(directives.get("stale-if-error")),
    )


def seconds_of(value: str | None) -> int | None:
    """Return the number of seconds in the value of a directive (RFC 9111 §1.2.2).

    The result is None if `value` is None, and 0 if `value` is not a valid number.
    """
    if value is None:
        return None
    if not _DELTA_SECONDS.fullmatch(value):
        return 0
    digits = value.lstrip("0")
    return min(int(digits or 0), _FOR_EVER) if len(digits) <= len(str(_FOR_EVER)) else _FOR_EVER


def cache_status_value(status: CacheStatus) -> str:
    """Return the value of the Cache-Status header (RFC 9211 §2)."""
    parts = [CACHE_NAME]
    parts.append("hit" if status.forward is None else f"fwd={status.forward}")
    if status.forward_status is not None:
        parts.append(f"fwd-status={status.forward_status}")
    if status.is_stored:
        parts.append(f"ttl={status.ttl}")
    if status.collapsed:
        parts.append("collapsed")
    if status.tier is Tier.SEMANTIC:
        parts.append(f'detail="semantic; distance={status.distance:.4f}"')
    elif status.tier is Tier.EXACT:
        parts.append("detail=exact")
    elif status.detail:
        parts.append(f"detail={status.detail}")
    return "; ".join(parts)


def cache_headers(status: CacheStatus) -> list[Header]:
    """Return the response headers that tell the client what the cache did."""
    headers = [
        (b"cache-status", cache_status_value(status).encode()),
        (b"x-cache", status.outcome.value.encode()),
    ]
    if status.is_stored:
        headers.append((b"age", b"%d" % status.age))
    if status.distance is not None:
        headers.append((b"x-cache-distance", b"%.4f" % status.distance))
    if status.entry:
        headers.append((b"x-cache-entry", status.entry.encode()))
    if status.saved:
        headers += _saved_headers(status.saved)
    if status.shadow:
        headers.append((b"x-cache-shadow", status.shadow.outcome.value.encode()))
    return headers


def _saved_headers(saved: Saved) -> list[Header]:
    headers = []
    if saved.usage:
        tokens = saved.usage.input + saved.usage.output
        headers.append((b"x-cache-saved-tokens", b"%d" % tokens))
    if saved.nanodollars is not None:
        headers.append((b"x-cache-saved-usd", b"%.6f" % (saved.nanodollars / A_DOLLAR)))
    if saved.seconds:
        headers.append((b"x-cache-saved-seconds", b"%.3f" % saved.seconds))
    return headers
