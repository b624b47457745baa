"""What a key is made of, part by part: which part keeps a request from a stored answer.

Rules of this file: the parts of two requests are the same exactly if their partitions are; a name
can be read, what is in the part cannot; parts of different callers cannot be compared.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from app.core.models import ClientRequest
from app.dialects.dialect import ParsedRequest
from app.rules.headers import CREDENTIALS
from app.rules.key import KeyRules, digest_of, must_match

KeyParts = Mapping[str, str]
"""Short digests by the names of parts; a part that is not there has nothing in it."""

CALLER = "caller"
"""The part that tells who shares entries."""

_SHORT = 12  # hex digits
_MOST = 32  # named parts of a body, or of the headers; what is beyond counts as one
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


def key_parts(request: ClientRequest, parsed: ParsedRequest, rules: KeyRules) -> dict[str, str]:
    """Name the parts of a request that must match exactly."""
    exact = must_match(request, parsed, rules)
    identity: list[list[str]] = []
    headers: dict[str, list[str]] = {}
    for name, value in exact.headers:
        if name.encode("latin-1") in CREDENTIALS:
            identity.append([name, value])
        else:
            headers.setdefault(name, []).append(value)
    caller = digest_of([exact.caller, identity], b"caller", rules.secret)
    told = exact.body.get(parsed.conversation)
    *history, last = told if isinstance(told, list) and told else [told]
    parts = {
        "upstream": exact.upstream,
        "path": exact.path,
        **({"query": exact.query} if exact.query else {}),
        **({"namespace": exact.namespaces} if exact.namespaces else {}),
        **dict(_named("header", headers)),
        **dict(_named("body", {n: v for n, v in exact.body.items() if n != parsed.conversation})),
        **({"messages-before": history} if history else {}),
        "last-message": last,
    }
    told = {
        name: digest_of([caller, name, value], b"part", rules.secret)[:_SHORT]
        for name, value in parts.items()
    }
    return {CALLER: caller[:_SHORT], **told}


def _named(kind: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    names = sorted(values)
    named = [name for name in names if _NAME.fullmatch(name)][:_MOST]
    yield from ((f"{kind}.{name}", values[name]) for name in named)
    if rest := {name: values[name] for name in names if name not in named}:
        yield f"{kind}-others", rest


def differences(one: KeyParts, other: KeyParts) -> list[str]:
    """Name the parts in which two keys differ."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def parts_text(parts: KeyParts) -> str:
    """Write parts as one line of text, kept once for all entries of a partition."""
    return sys.intern(" ".join(f"{name}={digest}" for name, digest in parts.items()))


def parts_of(text: str) -> dict[str, str]:
    """Read what `parts_text` has written; of anything else what can be read."""
    return {name: digest for item in text.split() for name, _, digest in [item.partition("=")]}
