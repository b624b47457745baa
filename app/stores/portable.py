"""Entries as lines of JSON. They can be exported from any store and imported into any other.

A line is one JSON object. In it, the answer is JSON, the embedding is base64, and the other fields
of the entry (`codec.py`) are strings. A few fields are left out, such as the epoch. An invalid line
raises ValueError. The error's message gives the reason and contains nothing of the line's content.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from app.core.errors import NotUnderstood
from app.core.models import Embedding, StoredResponse
from app.core.tags import checked_labels
from app.dialects.dialect import Dialect
from app.dialects.strict_json import compact, load_json
from app.stores.codec import (
    dialect_in,
    response_fields,
    response_of,
    vector_bytes,
    vector_of,
)

_DIGEST = re.compile("[0-9a-f]{64}")
_TEXTS_ELSEWHERE = ("response", "encoding", "epoch", "vector", "askers", "pinned")
_OTHERS = ("id", "response", "completion", "embedding", "embedder")
_LONGEST_LIFE = 2_592_000.0  # seconds


@dataclass(frozen=True, slots=True)
class Portable:
    """An entry to export or import. `embedder` is the name of the model that made `embedding`.

    If `embedding` is None, only exact matches find the entry.
    """

    stored: StoredResponse
    embedding: Embedding | None = field(default=None, repr=False)
    embedder: str = ""


def line_of(portable: Portable) -> bytes:
    """Return an entry as one line. Raises ValueError if the entry's answer is not JSON."""
    stored, embedding = portable.stored, portable.embedding
    fields = response_fields(replace(stored, content=b""))
    texts = {n: raw.decode() for n, raw in fields.items() if n not in _TEXTS_ELSEWHERE}
    raw = None if embedding is None else base64.b64encode(vector_bytes(embedding)).decode()
    document = {
        "id": stored.id,
        **texts,
        "embedder": portable.embedder,
        "embedding": raw,
        "response": json.loads(stored.content),
    }
    return compact(document).encode() + b"\n"


def cursor_line(cursor: str | None) -> bytes:
    """Return the last line of an export. This line contains `cursor`.

    The next export begins at `cursor`. None means that all entries have been exported.
    """
    return json.dumps({"cursor": cursor}).encode() + b"\n"


def portable_of(line: bytes, now: float, dialects: Mapping[str, Dialect]) -> Portable | None:
    """Return the entry in a line, or None for a line made by `cursor_line`.

    The entry stays in the partition that the line names. `now` is in seconds since 1970. If the
    entry's time is later than `now`, it is set to `now`. `dialects` contains the known dialects by
    name. Raises ValueError if the line is invalid.
    """
    document = _document(line)
    if document.keys() == {"cursor"}:
        return None
    fields = {name: _text(value) for name, value in document.items() if name not in _OTHERS}
    raw = _response(document, dialects.get(dialect_in(fields)))
    stored = response_of(
        _digest(document, "id"), {**fields, "response": raw, "encoding": b"", "epoch": b""}
    )
    _digest(document, "partition")
    if checked_labels(stored.tagging.namespace, stored.tagging.tags) is None:
        raise ValueError("the namespace or a tag is too long, or there are too many tags")
    if not all(0 <= s <= _LONGEST_LIFE for s in (stored.freshness_lifetime, stored.stale_lifetime)):
        raise ValueError("lifetime or stale is out of range")
    stored = replace(stored, stored_at=min(stored.stored_at, now))
    if stored.key.text is None:  # an entry for exact matches only has no embedding
        return Portable(stored)
    embedder = document.get("embedder")
    return Portable(stored, _embedding(document), embedder if isinstance(embedder, str) else "")


def _document(line: bytes) -> Mapping[str, Any]:
    try:
        document = load_json(line)
    except NotUnderstood as unknown:
        raise ValueError(unknown.detail) from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def _response(document: Mapping[str, Any], dialect: Dialect | None) -> bytes:
    """Return the answer in a line as compact JSON.

    The answer is in the field `response`, or `completion` in the first version of the format.
    `dialect` is the answer's dialect, or None if it is unknown. Raises ValueError if the dialect is
    unknown, or the answer is invalid or must not be stored.
    """
    response = document.get("response", document.get("completion"))
    if dialect is None:
        raise ValueError("dialect is unknown")
    if not isinstance(response, dict):
        raise ValueError("response is not a JSON object")
    if reason := dialect.why_not_stored(response):
        raise ValueError(f"response may not be stored: {reason}")
    return compact(response).encode()


def _text(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("a field that must be a string is not one")
    return value.encode()


def _digest(document: Mapping[str, Any], name: str) -> str:
    digest = document.get(name)
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError(f"{name} is not a digest of 64 hexadecimal digits")
    return digest


def _embedding(document: Mapping[str, Any]) -> Embedding | None:
    told = document.get("embedding")
    if told is None:
        return None
    try:
        raw = base64.b64decode(_text(told), validate=True)
    except binascii.Error:
        raise ValueError("embedding is not base64") from None
    vector = vector_of(raw, len(raw) // 4)
    norm = float(np.linalg.norm(vector))
    if not vector.size or not np.isfinite(norm) or norm == 0.0:
        raise ValueError("embedding is zero or not finite")
    return np.asarray(vector / norm, np.float32)
