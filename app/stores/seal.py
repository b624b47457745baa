"""Seals: how a store tells an entry that is as it was written from any other.

A seal is made of the key and the content together, so that an entry that was altered, or put under
another key, is a miss. With a secret it is an HMAC (RFC 2104), which nobody else can make; without
one it is a checksum, which tells accidents alone.

Rules of this file: what is read is checked before it is used; what is empty and what is absent are
the same; a field that may change later (`disputed`) is covered, so who changes it seals anew.
"""

import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from app.core.models import StoredEmbedding, StoredResponse
from app.stores.codec import (
    embedding_fields,
    embedding_of,
    fields_bytes,
    response_fields,
    response_of,
)

SEAL = "seal"
"""The field of an entry that holds its seal."""

_LABEL = b"reprise-seal-1"
_RESPONSE, _EMBEDDING = b"response", b"embedding"
_SIZE = 16  # bytes

_logger = logging.getLogger("reprise.store")


class BrokenSeal(ValueError):
    """An entry is not as it was written, or somebody else has written it."""


class Seal:
    """Writes entries with a seal, and reads those whose seal is right.

    `model` names what embeds. `on_broken` is called for each entry that is not as it was written.
    Without a secret, entries of versions that knew no seals are read.
    """

    def __init__(
        self,
        secret: bytes = b"",
        model: str = "",
        on_broken: Callable[[], None] = lambda: None,
    ) -> None:
        self._key = hmac.digest(secret, _LABEL, "sha256") if secret else b""
        self._model = model.encode()
        self._on_broken = on_broken
        self._is_told = False

    def response_fields(self, stored: StoredResponse) -> dict[str, bytes]:
        """Write a stored response."""
        fields = response_fields(stored)
        return fields | {SEAL: self._seal(_RESPONSE, stored.id, fields)}

    def response_of(self, digest: str, fields: Mapping[str, bytes]) -> StoredResponse:
        """Read a stored response. Raises ValueError."""
        stored = response_of(digest, fields)
        self._check(_RESPONSE, digest, fields)
        return stored

    def embedding_fields(self, stored: StoredEmbedding) -> dict[str, bytes]:
        """Write a stored embedding."""
        fields = embedding_fields(stored)
        return fields | {SEAL: self._seal(_EMBEDDING, stored.id, fields)}

    def embedding_of(self, digest: str, fields: Mapping[str, bytes]) -> StoredEmbedding:
        """Read a stored embedding. Raises ValueError."""
        stored = embedding_of(digest, fields)
        self._check(_EMBEDDING, digest, fields)
        return stored

    def with_vector(self, stored: StoredResponse, vector: bytes | None) -> StoredResponse:
        """Return a response that is to be found by a vector, or by none."""
        return replace(stored, vector_digest=self._digest(vector) if vector else "")

    def check_vector(self, stored: StoredResponse, vector: bytes) -> None:
        """Check that a response is found by the vector it was written with. Raises BrokenSeal."""
        is_old = not stored.vector_digest and not self._key
        if not is_old and stored.vector_digest != self._digest(vector):
            self._broken()

    def _digest(self, vector: bytes) -> str:
        return hashlib.sha256(b"\0".join([self._model, vector])).hexdigest()[: 2 * _SIZE]

    def _seal(self, kind: bytes, digest: str, fields: Mapping[str, bytes]) -> bytes:
        told = {name: raw for name, raw in sorted(fields.items()) if raw and name != SEAL}
        whole = fields_bytes({"": kind + digest.encode(), **told})
        if self._key:
            return hmac.digest(self._key, whole, "sha256")[:_SIZE]
        return hashlib.sha256(_LABEL + whole).digest()[:_SIZE]

    def _check(self, kind: bytes, digest: str, fields: Mapping[str, bytes]) -> None:
        seal = fields.get(SEAL)
        if not seal and not self._key:
            return
        if not hmac.compare_digest(seal or b"", self._seal(kind, digest, fields)):
            self._broken()

    def _broken(self) -> None:
        self._on_broken()
        if not self._is_told:  # once: whoever writes to a store could else fill the log
            self._is_told = True
            _logger.error(
                "an entry of the store was altered, or written by somebody else or under another "
                "REPRISE_STORE_SECRET; it is a miss, and so are all others of that kind"
            )
        raise BrokenSeal("not as it was written")
