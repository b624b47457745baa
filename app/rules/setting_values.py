"""Validators for the values of settings. Each returns the value or raises ValueError."""

import re
from types import MappingProxyType
from urllib.parse import urlsplit

from app.rules.headers import HOP_BY_HOP

_FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VISIBLE = re.compile(r"[!-~]+")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")

_PORTS = MappingProxyType({"http": 80, "https": 443})

SIMULATED = re.compile(r"simulated://(?:\?delay_ms=(\d{1,6}))?")
"""The URL of the simulated upstream, with an optional delay in milliseconds."""


def listed(value: object) -> object:
    """Split a comma-separated text into a tuple. Return any other value unchanged.

    Raises ValueError if the text contains only commas and white space.
    """
    if not isinstance(value, str):
        return value
    items = tuple(item.strip() for item in value.split(",") if item.strip())
    if not items:
        raise ValueError
    return items


def header_names(value: object) -> object:
    """Accept a list of names of end-to-end headers (RFC 9110 §5.1)."""
    names = listed(value)
    for name in names if isinstance(names, tuple) else ():
        if not _FIELD_NAME.fullmatch(name) or name.lower().encode() in HOP_BY_HOP:
            raise ValueError
    return names


def cookie_names(value: object) -> object:
    """Accept a list of names of cookies (RFC 6265 §4.1.1)."""
    names = listed(value)
    for name in names if isinstance(names, tuple) else ():
        if not _FIELD_NAME.fullmatch(name):
            raise ValueError
    return names


def origins(value: object) -> object:
    """Accept a list of origins as browsers send them, `*` and `null` included.

    Source: https://fetch.spec.whatwg.org/#origin-header
    """
    found = listed(value)
    for origin in found if isinstance(found, tuple) else ():
        if origin not in {"*", "null"} and not _ORIGIN.fullmatch(origin):
            raise ValueError
    return found


def key(value: object) -> object:
    """Accept a key of visible ASCII characters, so that the key can be sent in a header.

    White space around the key is removed.
    """
    found = value.strip() if isinstance(value, str) else value
    if isinstance(found, str) and not _VISIBLE.fullmatch(found):
        raise ValueError
    return found


def keys(value: object) -> object:
    """Accept a comma-separated list of keys."""
    items = listed(value)
    return tuple(map(key, items)) if isinstance(items, tuple) else items


def base_url(value: object) -> str:
    """Accept an absolute http or https URL without query, fragment or credentials."""
    url = str(value)
    parts = urlsplit(url)
    if not _VISIBLE.fullmatch(url) or set("?#@") & set(url):
        raise ValueError
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError
    return url.rstrip("/")


def upstream_url(value: object) -> object:
    """Accept a base URL, or the URL of the simulated upstream."""
    return value if SIMULATED.fullmatch(str(value)) else base_url(value)


def optional_url(value: object) -> object:
    """Accept a base URL, or an empty value."""
    return value and base_url(value)


def embedder(value: object) -> object:
    """Accept a base URL, `local` or `upstream`."""
    return value if value in {"local", "upstream"} else base_url(value)


def origin_of(url: str) -> tuple[str, str | None, int | None]:
    """Return a URL's origin: scheme, host and port (RFC 9110 §4.3.1)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
