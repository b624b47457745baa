"""The named parts of a partition. They show why a stored answer did not match a request.

Rules of this file: two requests have equal parts if and only if they have equal partitions. The
names of parts are readable; the contents are digests. The same content has different digests for
different callers, so that nobody can compare the parts of two callers.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.core.models import ClientRequest
from app.dialects.dialect import ParsedRequest
from app.rules import cookies
from app.rules.headers import CREDENTIALS
from app.rules.key import KeyRules, digest_of, must_match, wording_of

KeyParts = Mapping[str, str]
"""The name of each part, with a short digest of its content. Empty parts are left out."""

CALLER = "caller"
"""The name of the part that identifies the callers who share entries."""

_SHORT = 12  # hex digits
_MOST = 32  # named parts of a body, or of the headers; all further ones form a single part
_COOKIE = "cookie"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


def key_parts(request: ClientRequest, parsed: ParsedRequest, rules: KeyRules) -> dict[str, str]:
    """Return the parts of a request that must match exactly.

    The keys of the result are the names of the parts; the values are short digests.
    """
    exact = must_match(request, parsed, rules)
    identity, named_cookies, headers = _sorted_out(exact.headers)
    caller = digest_of([exact.caller, identity], b"caller", rules.secret)
    told = exact.body.get(parsed.messages_field)
    *history, last = told if isinstance(told, list) and told else [told]
    parts = {
        "upstream": exact.upstream,
        "path": exact.path,
        **({"query": exact.query} if exact.query else {}),
        **({"namespace": exact.namespaces} if exact.namespaces else {}),
        **dict(_named("header", headers)),
        **dict(_named("cookie", named_cookies)),
        **dict(_named("body", {n: v for n, v in exact.body.items() if n != parsed.messages_field})),
        **({"messages-before": history} if history else {}),
        "last-message": last,
        **({"frame": frame} if (frame := wording_of(parsed).frame) else {}),
    }
    told = {
        name: digest_of([caller, name, value], b"part", rules.secret)[:_SHORT]
        for name, value in parts.items()
    }
    return {CALLER: caller[:_SHORT], **told}


def _sorted_out(
    headers: Sequence[Sequence[str]],
) -> tuple[list[Sequence[str]], dict[str, list[str]], dict[str, list[str]]]:
    """Return three things: the caller's credentials, other cookies by name, other headers by name.

    A cookie identifies the caller only if there is no other credential. A cookie for load balancing
    never identifies the caller.
    """
    identity: list[Sequence[str]] = []
    beside: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    is_known = any(_is_credential(name) and name != _COOKIE for name, _ in headers)
    for name, value in headers:
        if not _is_credential(name):
            others.setdefault(name, []).append(value)
        elif name == _COOKIE and (is_known or cookies.balances_load(value.encode("latin-1"))):
            cookie = cookies.name_of(value.encode("latin-1")).decode("latin-1")
            beside.setdefault(cookie, []).append(value)
        else:
            identity.append([name, value])
    return identity, beside, others


def _is_credential(name: str) -> bool:
    return name.encode("latin-1") in CREDENTIALS


def _named(kind: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    names = sorted(values)
    named = [name for name in names if _NAME.fullmatch(name)][:_MOST]
    yield from ((f"{kind}.{name}", values[name]) for name in named)
    if rest := {name: values[name] for name in names if name not in named}:
        yield f"{kind}-others", rest


def differences(one: KeyParts, other: KeyParts) -> list[str]:
    """Return the names of the parts that differ in two requests."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def parts_text(parts: KeyParts) -> str:
    """Return parts as one line of text.

    The text is interned (`sys.intern`), because all entries of a partition have the same text.
    """
    return sys.intern(" ".join(f"{name}={digest}" for name, digest in parts.items()))


def parts_of(text: str) -> dict[str, str]:
    """Return the parts in a text made by `parts_text`. Invalid text never raises an error."""
    return {name: digest for item in text.split() for name, _, digest in [item.partition("=")]}
