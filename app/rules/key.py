"""Request to cache key: what must match exactly, and the one text that may match by meaning.

Rules of this file: whatever can change an answer is in the partition unless a set below names it
as neutral; nothing is normalised but the order of JSON keys and white space between them.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from app.core.callers import caller_text
from app.core.models import V1, CacheKey, ClientRequest, Header
from app.core.tags import NAMESPACE, UNTAGGED, tagging_of
from app.dialects.dialect import ParsedRequest
from app.dialects.embeddings import EmbeddingsRequest
from app.matching.payload import makes_payload
from app.matching.templates import Template, template_of
from app.rules import cookies
from app.rules.headers import CREDENTIALS, ORIGIN, is_ours
from app.rules.neutral_headers import is_neutral, tells_who_asks
from app.rules.providers import is_anthropics

_LABEL = b"reprise-3"
"""Changes whenever the meaning of a key does, so that old entries are never found by new code."""

_COOKIE = b"cookie"
_MOST_NAMES = 16  # of a caller; what more cookies there are name nobody
_NAME_LENGTH = 32  # hex digits: 128 bits

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))

# What a tool gave, told to an agent in the user's name: every word of it counts.
_TOOL_RESULT = re.compile(
    r"^[ \t>*#\[]{0,8}(?:observation|(?:tool|function|command|action)[ _](?:call )?"
    r"(?:result|output|response)s?)[ _]?\d{0,4}[ \t*#\]]{0,8}(?::|$)"
    r"|<(?:tool|function)_(?:result|output|response)s?\b|<observation\b",
    re.IGNORECASE | re.MULTILINE,
)
_MOST_EMBEDDED = 65_536  # characters; more than any embedder takes


class Isolation(StrEnum):
    """Who shares entries."""

    USER = "user"
    CREDENTIAL = "credential"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class KeyRules:
    """What a deployment decides about keys.

    `secret` turns digests into HMACs. `ignored_headers` are further neutral names, in lower case,
    and `key_headers` names that take part in any case. `ignored_cookies` and `key_cookies` are the
    same for cookies, whose case counts. `anthropic` is the URL for requests of Anthropic's API;
    empty if they go to the upstream. `api_keys` are the SHA-256 of the keys that callers need.
    """

    upstream: str
    isolation: Isolation = Isolation.CREDENTIAL
    secret: bytes = field(default=b"", repr=False)
    ignored_headers: frozenset[bytes] = frozenset()
    key_headers: frozenset[bytes] = frozenset()
    ignored_cookies: frozenset[bytes] = frozenset()
    key_cookies: frozenset[bytes] = frozenset()
    anthropic: str = ""
    api_keys: frozenset[bytes] = field(default=frozenset(), repr=False)

    @property
    def all_share(self) -> bool:
        """Whether one caller's answers serve all others too."""
        return self.isolation is Isolation.SHARED

    def upstream_of(self, request: ClientRequest) -> str:
        """Return the URL of the upstream that a request goes to."""
        return (is_anthropics(request) and self.anthropic) or self.upstream


class MustMatch(NamedTuple):
    """All of a request that must match exactly, as JSON would hold it; the partition is made of it.

    `caller` names the isolation and, under `user`, the end user; credentials are among `headers`,
    which are pairs of name and value.
    """

    upstream: str
    path: str
    query: str
    namespaces: list[str]
    caller: list[Any]
    headers: list[list[str]]
    body: Mapping[str, Any]


def build_key(request: ClientRequest, parsed: ParsedRequest, rules: KeyRules) -> CacheKey:
    """Return the key of a request that has one text."""
    frame, text = wording_of(parsed)
    partition = _partition(must_match(request, parsed, rules), rules, frame)
    return CacheKey(
        partition=partition,
        digest=digest_of([partition, parsed.texts], b"entry", rules.secret),
        text=text if _can_be_reworded(text, [*parsed.instructions, frame]) else None,
    )


def wording_of(parsed: ParsedRequest) -> Template:
    """Return the text that may be matched by meaning, as a slot, with its frame, which may not."""
    text = "\n".join(parsed.texts or ())
    return template_of(text) or Template("", text)


def build_open_key(
    request: ClientRequest, parsed: ParsedRequest, rules: KeyRules
) -> CacheKey | None:
    """Return the key of answers that pages of all origins may read.

    None if the request's own key is that one, because it does not come from a web page.
    """
    if ORIGIN in rules.key_headers or not any(
        name == ORIGIN and _matters(name, rules) for name, _ in request.headers
    ):
        return None
    return build_key(without_origin(request), parsed, rules)


def without_origin(request: ClientRequest) -> ClientRequest:
    """Return a request without the `Origin` header that web pages send."""
    return replace(request, headers=[h for h in request.headers if h[0] != ORIGIN])


def _can_be_reworded(text: str, instructions: Sequence[str]) -> bool:
    if not text or text.isspace() or _TOOL_RESULT.search(text, 0, _MOST_EMBEDDED):
        return False
    return not any(map(makes_payload, instructions))


def build_embedding_keys(
    request: ClientRequest, embeddings: EmbeddingsRequest, rules: KeyRules
) -> list[str]:
    """Return the exact key of each input of an embeddings request."""
    partition = _partition(must_match(request, embeddings, rules), rules)
    # An embedding carries no tags: those of its request are part of its name instead.
    if tags := sorted((tagging_of(request.headers) or UNTAGGED).tags):
        partition = digest_of([partition, *tags], b"tags", rules.secret)
    return [digest_of([partition, item], b"embedding", rules.secret) for item in embeddings.inputs]


def _partition(exact: MustMatch, rules: KeyRules, frame: str = "") -> str:
    return digest_of([*exact, frame] if frame else exact, b"partition", rules.secret)


def must_match(
    request: ClientRequest, parsed: ParsedRequest | EmbeddingsRequest, rules: KeyRules
) -> MustMatch:
    """Return all of a request that must match exactly."""
    return MustMatch(
        rules.upstream_of(request),
        _path(request).decode("latin-1"),
        request.query.decode("latin-1"),
        [value.decode("latin-1") for name, value in request.headers if name == NAMESPACE],
        _identity(parsed, rules.isolation),
        _significant(request.headers, rules),
        parsed.must_match,
    )


def _path(request: ClientRequest) -> bytes:
    """Return the path, with a prefix other than `/v1` before it, separated by a blank."""
    return request.path if request.prefix == V1 else request.prefix + b" " + request.path


def _identity(parsed: ParsedRequest | EmbeddingsRequest, isolation: Isolation) -> list[Any]:
    """Name the isolation and, under `user`, the end user; credentials are among the headers."""
    end_user = parsed.end_user if isolation is Isolation.USER else ()
    return [isolation.value, *end_user]


def _significant(headers: Iterable[Header], rules: KeyRules) -> list[list[str]]:
    """List the headers that tell callers apart or may change the answer, ordered by name.

    Each cookie stands for itself, ordered by name too.
    """
    lines = list(headers)
    kept = [header for header in lines if header[0] != _COOKIE and _matters(header[0], rules)]
    told = [
        *((name.decode("latin-1"), value.decode("latin-1")) for name, value in kept),
        *((_COOKIE.decode(), cookie.decode("latin-1")) for cookie in _told_cookies(lines, rules)),
    ]
    return [list(header) for header in sorted(told, key=lambda header: header[0])]


def _told_cookies(headers: Sequence[Header], rules: KeyRules) -> list[bytes]:
    """List the cookies that tell callers apart."""
    values = [value for name, value in headers if name == _COOKIE]
    if not values:
        return []
    whole = cookies.split(values)
    if _COOKIE in rules.key_headers:
        return whole
    named = [cookie for cookie in whole if cookies.name_of(cookie) in rules.key_cookies]
    if rules.isolation is Isolation.SHARED:
        return named
    is_alone = not any(name in CREDENTIALS and name != _COOKIE for name, _ in headers)
    ignored = rules.ignored_cookies
    told = {*named, *cookies.telling(whole, ignored, is_alone=is_alone and not named)}
    return [cookie for cookie in whole if cookie in told]


def _matters(name: bytes, rules: KeyRules) -> bool:
    if name in rules.key_headers:
        return True
    if name in CREDENTIALS:
        return rules.isolation is not Isolation.SHARED
    return not (is_neutral(name) or name in rules.ignored_headers or is_ours(name))


def tells_callers_apart(headers: Iterable[Header], rules: KeyRules) -> bool:
    """Whether a request says who sends it: a credential, an authenticating proxy, or the operator.

    An address, in Forwarded and the like, does so only where it is one of the `key_headers`: else
    callers at all addresses share answers.
    """
    return any(
        _matters(name, rules)
        and (name in CREDENTIALS or name in rules.key_headers or tells_who_asks(name))
        for name, _ in headers
    )


def callers_of(headers: Iterable[Header], rules: KeyRules) -> str:
    """Name who sends a request, by each credential; by the cookies only where there is no other."""
    lines = [(name, value) for name, value in headers if name in CREDENTIALS]
    told = [value for name, value in lines if name != _COOKIE]
    told = told or cookies.split([value for _, value in lines])[:_MOST_NAMES]
    return caller_text(caller_name(value, rules) for value in told)


def caller_name(credential: bytes, rules: KeyRules) -> str:
    """Return the name of who sends a credential: a header's value, or the key alone."""
    scheme, _, key = credential.strip().partition(b" ")
    bare = key.strip() if scheme.lower() == b"bearer" else b""
    told = (bare or credential.strip()).decode("latin-1")
    return digest_of(told, b"caller-name", rules.secret)[:_NAME_LENGTH]


def digest_of(document: object, purpose: bytes, secret: bytes) -> str:
    """Return the digest of a JSON document, in lower-case hex: the same for any order of its keys.

    Digests for different purposes have nothing in common; under a `secret` they are HMACs.
    """
    message = b"\0".join((_LABEL, purpose, _ENCODER.encode(document).encode()))
    if secret:
        return hmac.digest(secret, message, "sha256").hex()
    return hashlib.sha256(message).hexdigest()
