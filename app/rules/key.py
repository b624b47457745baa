"""Builds a request's cache key: what must match exactly, and the text that may match by meaning.

Rules of this file: everything that can change an answer is part of the partition, unless it is
declared neutral. Nothing is normalised except the order of keys, and white space, in JSON.
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
"""A part of every digest. It must change with the key format, so that no old entry matches."""

_COOKIE = b"cookie"
_MOST_NAMES = 16  # names of a caller; further cookies are ignored
_NAME_LENGTH = 32  # hex digits: 128 bits

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))

# A tool's result that an agent framework sends as a message of the user: it must match exactly.
_TOOL_RESULT = re.compile(
    r"^[ \t>*#\[]{0,8}(?:observation|(?:tool|function|command|action)[ _](?:call )?"
    r"(?:result|output|response)s?)[ _]?\d{0,4}[ \t*#\]]{0,8}(?::|$)"
    r"|<(?:tool|function)_(?:result|output|response)s?\b|<observation\b",
    re.IGNORECASE | re.MULTILINE,
)
_MOST_EMBEDDED = 65_536  # characters; more than any embedder takes


class Isolation(StrEnum):
    """Who shares entries: one end user's requests, one credential's requests, or all callers."""

    USER = "user"
    CREDENTIAL = "credential"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class KeyRules:
    """The rules of a deployment for keys.

    `upstream`: the upstream's URL. `anthropic`: the upstream's URL for requests of Anthropic's API;
    empty if such requests go to `upstream`.
    `secret`: the secret key of the HMACs; if it is empty, digests are SHA-256.
    `ignored_headers`: further neutral headers, in lower case.
    `key_headers`: headers, in lower case, that are always part of the key.
    `ignored_cookies`, `key_cookies`: the same lists for cookies, whose names are case-sensitive.
    `api_keys`: the SHA-256 of each key that a caller may present; empty if callers need no key.
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
        """Whether all callers share answers."""
        return self.isolation is Isolation.SHARED

    def upstream_of(self, request: ClientRequest) -> str:
        """Return the URL of the upstream that a request goes to."""
        return (is_anthropics(request) and self.anthropic) or self.upstream


class MustMatch(NamedTuple):
    """The parts of a request that must match exactly, as JSON values.

    The partition is a digest of these parts.
    `caller`: the isolation and, if the isolation is `user`, the end user. `headers`: pairs of name
    and value, including the credentials.
    """

    upstream: str
    path: str
    query: str
    namespaces: list[str]
    caller: list[Any]
    headers: list[list[str]]
    body: Mapping[str, Any]


def build_key(request: ClientRequest, parsed: ParsedRequest, rules: KeyRules) -> CacheKey:
    """Return the cache key of a request. For embeddings, see `build_embedding_keys`."""
    frame, text = wording_of(parsed)
    partition = _partition(must_match(request, parsed, rules), rules, frame)
    return CacheKey(
        partition=partition,
        digest=digest_of([partition, parsed.texts], b"entry", rules.secret),
        text=text if _can_be_reworded(text, [*parsed.instructions, frame]) else None,
    )


def wording_of(parsed: ParsedRequest) -> Template:
    """Return a request's text, split into frame (matched exactly) and slot (matched by meaning)."""
    text = "\n".join(parsed.texts or ())
    return template_of(text) or Template("", text)


def build_open_key(
    request: ClientRequest, parsed: ParsedRequest, rules: KeyRules
) -> CacheKey | None:
    """Return the open key of a request, or None.

    Answers that web pages of any origin may read are stored under the open key. The open key is the
    key of the same request without `Origin`. The result is None if the request has no `Origin`
    header that is part of its key. The result is also None if `key_headers` names `Origin`.
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
    # A stored embedding has no tags: the tags of its request are part of its key instead.
    if tags := sorted((tagging_of(request.headers) or UNTAGGED).tags):
        partition = digest_of([partition, *tags], b"tags", rules.secret)
    return [digest_of([partition, item], b"embedding", rules.secret) for item in embeddings.inputs]


def _partition(exact: MustMatch, rules: KeyRules, frame: str = "") -> str:
    return digest_of([*exact, frame] if frame else exact, b"partition", rules.secret)


def must_match(
    request: ClientRequest, parsed: ParsedRequest | EmbeddingsRequest, rules: KeyRules
) -> MustMatch:
    """Return the parts of a request that must match exactly."""
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
    """Return the path of a request.

    If the request's prefix is not `/v1`, the result begins with the prefix and a space.
    """
    return request.path if request.prefix == V1 else request.prefix + b" " + request.path


def _identity(parsed: ParsedRequest | EmbeddingsRequest, isolation: Isolation) -> list[Any]:
    """Return the isolation and, if the isolation is `user`, the end user.

    Credentials are not included, because `_significant` returns them.
    """
    end_user = parsed.end_user if isolation is Isolation.USER else ()
    return [isolation.value, *end_user]


def _significant(headers: Iterable[Header], rules: KeyRules) -> list[list[str]]:
    """Return the headers that identify the caller or may change the answer, sorted by name.

    Each header is a list of name and value. Each cookie becomes a Cookie header of its own; the
    Cookie headers are sorted by the names of the cookies.
    """
    lines = list(headers)
    kept = [header for header in lines if header[0] != _COOKIE and _matters(header[0], rules)]
    told = [
        *((name.decode("latin-1"), value.decode("latin-1")) for name, value in kept),
        *((_COOKIE.decode(), cookie.decode("latin-1")) for cookie in _told_cookies(lines, rules)),
    ]
    return [list(header) for header in sorted(told, key=lambda header: header[0])]


def _told_cookies(headers: Sequence[Header], rules: KeyRules) -> list[bytes]:
    """Return the cookies that are part of the key, sorted by name."""
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
    """Whether a request's headers identify the caller.

    One header is enough. It must be a credential, or have a name that suggests a person, or be one
    of `key_headers`. Authenticating proxies add headers whose names suggest a person. A header with
    the caller's address, such as Forwarded, counts only if it is one of `key_headers`. Otherwise
    callers with different addresses share answers.
    """
    return any(
        _matters(name, rules)
        and (name in CREDENTIALS or name in rules.key_headers or tells_who_asks(name))
        for name, _ in headers
    )


def callers_of(headers: Iterable[Header], rules: KeyRules) -> str:
    """Return the names of a request's caller as one text.

    One name is made from each credential. Names are made from cookies only if the request has no
    other credential.
    """
    lines = [(name, value) for name, value in headers if name in CREDENTIALS]
    told = [value for name, value in lines if name != _COOKIE]
    told = told or cookies.split([value for _, value in lines])[:_MOST_NAMES]
    return caller_text(caller_name(value, rules) for value in told)


def caller_name(credential: bytes, rules: KeyRules) -> str:
    """Return the name of the caller who sends a credential: 32 hex digits.

    `credential` is the value of a header, or an API key alone.
    """
    scheme, _, key = credential.strip().partition(b" ")
    bare = key.strip() if scheme.lower() == b"bearer" else b""
    told = (bare or credential.strip()).decode("latin-1")
    return digest_of(told, b"caller-name", rules.secret)[:_NAME_LENGTH]


def digest_of(document: object, purpose: bytes, secret: bytes) -> str:
    """Return the digest of a JSON document, in lower-case hex.

    The order of keys in the document does not matter. Digests for different purposes are never
    equal. If `secret` is not empty, the digest is an HMAC.
    """
    message = b"\0".join((_LABEL, purpose, _ENCODER.encode(document).encode()))
    if secret:
        return hmac.digest(secret, message, "sha256").hex()
    return hashlib.sha256(message).hexdigest()
