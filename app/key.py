"""Request to cache key: what must match exactly, and the one text that may match by meaning.

Rules of this file: whatever can change an answer is in the partition unless a set below names it
as neutral; nothing is normalised but the order of JSON keys and white space between them.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.headers import CREDENTIALS, is_ours
from app.labels import NAMESPACE, NO_LABELS, labels_of
from app.models import CacheKey, ClientRequest, Header
from app.openai import ChatRequest, texts_of
from app.vectors import EmbeddingsRequest

NEUTRAL_FIELDS = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "safety_identifier",
        "service_tier",
        "stream",
        "stream_options",
        "user",
    }
)
"""Body fields that do not change the answer."""

NEUTRAL_HEADERS = frozenset(
    {
        b"baggage",
        b"b3",
        b"cache-control",
        b"expect",
        b"host",
        b"idempotency-key",
        b"sentry-trace",
        b"traceparent",
        b"tracestate",
        b"uber-trace-id",
        b"user-agent",
        b"x-amzn-trace-id",
        b"x-client-request-id",
        b"x-cloud-trace-context",
        b"x-correlation-id",
        b"x-request-id",
    }
)
"""Request headers that do not change the answer: transport, tracing, naming of requests."""

NEUTRAL_PREFIXES = (
    b"accept",
    b"content-",
    b"x-b3-",
    b"x-datadog-",
    b"x-forwarded-",
    b"x-stainless-",
)

_LABEL = b"reprise-1"
"""Changes whenever the meaning of a key does, so that old entries are never found by new code."""

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))

_TEXT = 0  # stands where the last user turn's text was: no text, and no valid content


class Isolation(StrEnum):
    """Who shares entries."""

    USER = "user"
    CREDENTIAL = "credential"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class KeyRules:
    """What a deployment decides about keys.

    `secret` turns digests into HMACs; `ignored_headers` are further neutral names, in lower case.
    """

    upstream: str
    isolation: Isolation = Isolation.CREDENTIAL
    secret: bytes = field(default=b"", repr=False)
    ignored_headers: frozenset[bytes] = frozenset()


def build_key(request: ClientRequest, chat: ChatRequest, rules: KeyRules) -> CacheKey:
    """Build the key of a chat completion request."""
    skeleton, texts = _split(chat)
    partition = _partition(request, chat.document, skeleton, rules)
    text = "\n".join(texts) if texts is not None else None
    return CacheKey(
        partition=partition,
        digest=_digest(rules.secret, b"entry", _canonical([partition, texts])),
        text=text if text and not text.isspace() else None,
    )


def build_embedding_keys(
    request: ClientRequest, embeddings: EmbeddingsRequest, rules: KeyRules
) -> list[str]:
    """Build the exact key of each input of an embeddings request."""
    taken = {*NEUTRAL_FIELDS, "input", "encoding_format"}
    skeleton = {n: v for n, v in embeddings.document.items() if n not in taken}
    partition = _partition(request, embeddings.document, skeleton, rules)
    # An embedding carries no tags: those of its request are part of its name instead.
    tags = sorted((labels_of(request.headers) or NO_LABELS).tags)
    return [
        _digest(rules.secret, b"embedding", _canonical([partition, item, *tags]))
        for item in embeddings.inputs
    ]


def _partition(
    request: ClientRequest, document: Mapping[str, Any], skeleton: object, rules: KeyRules
) -> str:
    parts = [
        rules.upstream,
        request.path.decode("latin-1"),
        request.query.decode("latin-1"),
        [value.decode("latin-1") for name, value in request.headers if name == NAMESPACE],
        _identity(document, rules.isolation),
        _significant(request.headers, rules),
        skeleton,
    ]
    return _digest(rules.secret, b"partition", _canonical(parts))


def _split(chat: ChatRequest) -> tuple[dict[str, Any], list[str] | None]:
    """Part the body into what must match exactly and the texts of the last user turn."""
    skeleton = {n: v for n, v in chat.document.items() if n not in NEUTRAL_FIELDS}
    last = chat.messages[-1]
    texts = texts_of(last.get("content")) if last["role"] == "user" else None
    if texts is not None:
        content: Any = _TEXT
        if isinstance(last["content"], list):
            content = [{**part, "text": _TEXT} for part in last["content"]]
        skeleton["messages"] = [*chat.messages[:-1], {**last, "content": content}]
    return skeleton, texts


def _identity(document: Mapping[str, Any], isolation: Isolation) -> list[Any]:
    """Name the isolation and, under `user`, the end user; credentials are among the headers."""
    if isolation is not Isolation.USER:
        return [isolation.value]
    return [isolation.value, document.get("user"), document.get("safety_identifier")]


def _significant(headers: Iterable[Header], rules: KeyRules) -> list[list[str]]:
    """List the headers that tell callers apart or may change the answer, ordered by name."""
    shared = rules.isolation is Isolation.SHARED
    kept = [
        [name.decode("latin-1"), value.decode("latin-1")]
        for name, value in headers
        if (not shared if name in CREDENTIALS else _matters(name, rules.ignored_headers))
    ]
    return sorted(kept, key=lambda header: header[0])


def _matters(name: bytes, ignored: frozenset[bytes]) -> bool:
    return not (
        name in NEUTRAL_HEADERS
        or name.startswith(NEUTRAL_PREFIXES)
        or name in ignored
        or is_ours(name)
    )


def _canonical(document: object) -> bytes:
    return _ENCODER.encode(document).encode()


def _digest(secret: bytes, purpose: bytes, document: bytes) -> str:
    message = b"\0".join((_LABEL, purpose, document))
    if secret:
        return hmac.digest(secret, message, "sha256").hex()
    return hashlib.sha256(message).hexdigest()
