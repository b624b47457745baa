"""Encodes stored responses and embeddings as named byte strings, for stores outside this process.

Rules of this file: data of another format version, damaged data and missing fields raise
ValueError; the caller treats such an entry as a miss. Unknown fields are ignored, so that an older
version of Reprise can read an entry to which a newer version has added fields.
"""

import struct
import sys
import zlib
from collections.abc import Mapping

import numpy as np

from app.core.models import (
    CHAT_COMPLETION,
    CacheKey,
    Embedding,
    Fullness,
    StoredEmbedding,
    StoredResponse,
)
from app.core.tags import UNTAGGED, Tagging, tags_in, tags_text

VERSION = b"1"

_WORTH_PACKING = 1024  # bytes; smaller answers are not compressed: it would gain little
_MOST_UNPACKED = 268_435_456  # bytes; damaged data may claim to expand to more
_DAY = 86_400.0  # seconds
_PLAIN, _DEFLATE = b"", b"deflate"
_LENGTHS = struct.Struct("<HI")  # of a field's name and of its value, in bytes


def response_fields(stored: StoredResponse) -> dict[str, bytes]:
    """Return the fields of a stored response, except its id and its embedding."""
    response, encoding = _packed(stored.content)
    fields = {
        "version": VERSION,
        "partition": stored.key.partition.encode(),
        "response": response,
        "encoding": encoding,
        "model": stored.model.encode(),
        "created_at": repr(stored.stored_at).encode(),
        "lifetime": repr(stored.freshness_lifetime).encode(),
        "stale": repr(stored.stale_lifetime).encode(),
        "epoch": stored.epoch.encode(),
        "fullness": stored.fullness.name.encode(),
    }
    if stored.key.text is not None:
        fields["prompt"] = stored.key.text.encode()
    if stored.parts:
        fields["parts"] = stored.parts.encode()
    if stored.is_disputed:
        fields["disputed"] = b"1"
    if stored.allow_origin:
        fields["allow_origin"] = stored.allow_origin.encode()
    if stored.dialect != CHAT_COMPLETION:
        fields["dialect"] = stored.dialect.encode()
    if stored.upstream_id:
        fields["upstream_id"] = stored.upstream_id.encode()
    if stored.caller:
        fields["caller"] = stored.caller.encode()
    if stored.seconds:
        fields["seconds"] = repr(stored.seconds).encode()
    if stored.vector_digest:
        fields["vector"] = stored.vector_digest.encode()
    return fields | _label_fields(stored.tagging) | _sharing_fields(stored)


def response_of(digest: str, fields: Mapping[str, bytes]) -> StoredResponse:
    """Decode the stored response with the id `digest`.

    Raises ValueError if `fields` are damaged.
    """
    _check_version(fields)
    prompt = fields.get("prompt")
    content = _unpacked(_field(fields, "response"), fields.get("encoding", _PLAIN))
    return StoredResponse(
        key=CacheKey(
            partition=_text(fields, "partition"),
            digest=digest,
            text=None if prompt is None else prompt.decode(),
        ),
        model=_text(fields, "model"),
        content=content,
        stored_at=_number(fields, "created_at"),
        freshness_lifetime=_number(fields, "lifetime"),
        epoch=_text(fields, "epoch"),
        parts=sys.intern(fields.get("parts", b"").decode()),
        stale_lifetime=_number(fields, "stale") if "stale" in fields else 0.0,
        tagging=labels_in(fields),
        is_disputed=bool(fields.get("disputed")),
        fullness=_fullness(fields, content),
        allow_origin=fields.get("allow_origin", b"").decode(),
        dialect=dialect_in(fields),
        upstream_id=upstream_id_in(fields),
        caller=caller_in(fields),
        askers=frozenset(fields.get("askers", b"").decode().split()),
        is_pinned=bool(fields.get("pinned")),
        vector_digest=fields.get("vector", b"").decode(),
        # Entries of older versions lack it; other values are limited to a sensible range.
        seconds=min(max(_number(fields, "seconds"), 0.0), _DAY) if "seconds" in fields else 0.0,
    )


def dialect_in(fields: Mapping[str, bytes]) -> str:
    """Return the dialect in a stored response's fields, or `chat_completion` if they have none.

    Raises ValueError if the dialect is not UTF-8.
    """
    return sys.intern(fields.get("dialect", b"").decode()) or CHAT_COMPLETION


def _fullness(fields: Mapping[str, bytes], content: bytes) -> Fullness:
    told = fields.get("fullness", b"").decode()
    if told in Fullness.__members__:
        return Fullness[told]
    # Entries of older versions lack the field. Answers are compact JSON, in whose texts quotes are
    # escaped, so this can only be a field.
    return Fullness.ALL if b'"usage":{' in content else Fullness.PLAIN


def labels_in(fields: Mapping[str, bytes]) -> Tagging:
    """Return the namespace and tags in a stored response's fields.

    Raises ValueError if the namespace or a tag is damaged.
    """
    # Absent fields count as empty: entries of older versions have neither.
    namespace, tags = fields.get("namespace", b""), fields.get("tags", b"")
    return Tagging(namespace.decode(), tags_in(tags.decode())) if namespace or tags else UNTAGGED


def upstream_id_in(fields: Mapping[str, bytes]) -> str:
    """Return the id that the upstream gave to a stored response, or "" if there is none.

    Raises ValueError if the id is not UTF-8.
    """
    return fields.get("upstream_id", b"").decode()


def caller_in(fields: Mapping[str, bytes]) -> str:
    """Return the names of an entry's callers as one text, made by `core.callers.caller_text`.

    Raises ValueError if the text is not UTF-8.
    """
    return sys.intern(fields.get("caller", b"").decode())


def embedding_fields(stored: StoredEmbedding) -> dict[str, bytes]:
    """Return the fields of a stored embedding, except its id."""
    fields = {
        "version": VERSION,
        "numbers": stored.numbers,
        "width": str(stored.width).encode(),
        "model": stored.model.encode(),
        "created_at": repr(stored.stored_at).encode(),
        "lifetime": repr(stored.freshness_lifetime).encode(),
        "stale": repr(stored.stale_lifetime).encode(),
        "epoch": stored.epoch.encode(),
    }
    if stored.allow_origin:
        fields["allow_origin"] = stored.allow_origin.encode()
    if stored.tokens is not None:
        fields["tokens"] = repr(stored.tokens).encode()
    if stored.caller:
        fields["caller"] = stored.caller.encode()
    return fields


def embedding_of(digest: str, fields: Mapping[str, bytes]) -> StoredEmbedding:
    """Decode the stored embedding with the id `digest`.

    Raises ValueError if `fields` are damaged.
    """
    _check_version(fields)
    width = _field(fields, "width")
    numbers = _field(fields, "numbers")
    if width not in {b"4", b"8"} or not numbers or len(numbers) % int(width):
        raise ValueError("the numbers are damaged")
    return StoredEmbedding(
        id=digest,
        model=_text(fields, "model"),
        numbers=numbers,
        width=4 if width == b"4" else 8,
        stored_at=_number(fields, "created_at"),
        freshness_lifetime=_number(fields, "lifetime"),
        epoch=_text(fields, "epoch"),
        stale_lifetime=_number(fields, "stale") if "stale" in fields else 0.0,
        allow_origin=fields.get("allow_origin", b"").decode(),
        tokens=_number(fields, "tokens") if "tokens" in fields else None,
        caller=caller_in(fields),
    )


def fields_bytes(fields: Mapping[str, bytes]) -> bytes:
    """Encode fields as bytes.

    Each field is encoded as four parts: the name's length, the value's length, the name, the value.
    """
    parts = []
    for name, value in fields.items():
        raw = name.encode()
        parts += [_LENGTHS.pack(len(raw), len(value)), raw, value]
    return b"".join(parts)


def fields_of(raw: bytes) -> dict[str, bytes]:
    """Decode fields from bytes made by `fields_bytes`. Raises ValueError if they are damaged."""
    fields, at = {}, 0
    while at < len(raw):
        if (begin := at + _LENGTHS.size) > len(raw):
            raise ValueError("the fields are damaged")
        name, value = _LENGTHS.unpack_from(raw, at)
        middle, at = begin + name, begin + name + value
        if at > len(raw):
            raise ValueError("the fields are damaged")
        fields[raw[begin:middle].decode()] = raw[middle:at]
    return fields


def vector_bytes(embedding: Embedding) -> bytes:
    """Return an embedding as little-endian float32 numbers, which is valkey-search's format."""
    return embedding.astype("<f4").tobytes()


def vector_of(raw: bytes, dimensions: int) -> Embedding:
    """Decode bytes made by `vector_bytes` to an embedding of shape (dimensions,).

    Raises ValueError if the bytes are damaged or their length is wrong.
    """
    vector = np.frombuffer(raw, "<f4")
    if vector.shape != (dimensions,) or not np.isfinite(vector).all():
        raise ValueError("the embedding is damaged, or another model made it")
    return vector.astype(np.float32)


def _sharing_fields(stored: StoredResponse) -> dict[str, bytes]:
    fields = {
        "askers": " ".join(sorted(stored.askers)).encode(),
        "pinned": b"1" if stored.is_pinned else b"",
    }
    return {name: value for name, value in fields.items() if value}


def _label_fields(tagging: Tagging) -> dict[str, bytes]:
    fields = {"namespace": tagging.namespace.encode(), "tags": tags_text(tagging.tags).encode()}
    return {name: value for name, value in fields.items() if value}


def _check_version(fields: Mapping[str, bytes]) -> None:
    if fields.get("version") != VERSION:
        raise ValueError("another version of Reprise wrote it")


def _field(fields: Mapping[str, bytes], name: str) -> bytes:
    value = fields.get(name)
    if value is None:
        raise ValueError(f"{name} is missing")
    return value


def _text(fields: Mapping[str, bytes], name: str) -> str:
    return _field(fields, name).decode()


def _number(fields: Mapping[str, bytes], name: str) -> float:
    number = float(_field(fields, name))
    if not np.isfinite(number):
        raise ValueError(f"{name} is not a number")
    return number


def _packed(raw: bytes) -> tuple[bytes, bytes]:
    if len(raw) < _WORTH_PACKING:
        return raw, _PLAIN
    packed = zlib.compress(raw, 1)
    return (packed, _DEFLATE) if len(packed) < len(raw) else (raw, _PLAIN)


def _unpacked(raw: bytes, encoding: bytes) -> bytes:
    if encoding == _PLAIN:
        return raw
    if encoding != _DEFLATE:
        raise ValueError("its compression is unknown")
    unpacker = zlib.decompressobj()
    try:
        whole = unpacker.decompress(raw, _MOST_UNPACKED)
    except zlib.error as error:
        raise ValueError("the answer is damaged") from error
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("the answer is damaged")
    return whole
