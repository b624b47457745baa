"""Seals: checksums by which a store detects entries that were altered after they were written.

A seal covers an entry's key and content. An entry that was altered, or moved to another key, is a
miss. With a secret, a seal is an HMAC (RFC 2104), which nobody without the secret can make. Without
a secret, a seal is a plain checksum, which detects accidents only.

Rules of this file: an entry is checked before it is used. An empty field and an absent field are
treated alike. Fields that may change later, such as `disputed`, are covered too: code that changes
such a field must write a new seal.
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
"""The name of the field that contains an entry's seal."""

_LABEL = b"reprise-seal-1"
_RESPONSE, _EMBEDDING = b"response", b"embedding"
_SIZE = 16  # bytes

_logger = logging.getLogger("reprise.store")


class BrokenSeal(ValueError):
    """An entry was altered after it was written, or was sealed with another secret."""


class Seal:
    """Adds seals to entries when they are written, and checks seals when entries are read.

    `model` is the name of the embedding model. `on_broken` is called for each entry with a wrong
    seal. Old versions of Reprise wrote entries without a seal. If `secret` is empty, such entries
    are accepted; otherwise they count as entries with a wrong seal.
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
        """Return the fields of a stored response, its seal included."""
        fields = response_fields(stored)
        return fields | {SEAL: self._seal(_RESPONSE, stored.id, fields)}

    def response_of(self, digest: str, fields: Mapping[str, bytes]) -> StoredResponse:
        """Decode the stored response with the id `digest`.

        Raises ValueError if `fields` are invalid, BrokenSeal if the seal is wrong.
        """
        stored = response_of(digest, fields)
        self._check(_RESPONSE, digest, fields)
        return stored

    def embedding_fields(self, stored: StoredEmbedding) -> dict[str, bytes]:
        """Return the fields of a stored embedding, its seal included."""
        fields = embedding_fields(stored)
        return fields | {SEAL: self._seal(_EMBEDDING, stored.id, fields)}

    def embedding_of(self, digest: str, fields: Mapping[str, bytes]) -> StoredEmbedding:
        """Decode the stored embedding with the id `digest`.

        Raises ValueError if `fields` are invalid, BrokenSeal if the seal is wrong.
        """
        stored = embedding_of(digest, fields)
        self._check(_EMBEDDING, digest, fields)
        return stored

    def with_vector(self, stored: StoredResponse, vector: bytes | None) -> StoredResponse:
        """Return a copy of a response. The copy's `vector_digest` is computed from `vector`.

        If `vector` is None, the copy's `vector_digest` is empty.
        """
        return replace(stored, vector_digest=self._digest(vector) if vector else "")

    def check_vector(self, stored: StoredResponse, vector: bytes) -> None:
        """Raise BrokenSeal if the response was written with a vector that differs from `vector`."""
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
        if not self._is_told:  # once: else one who can write to the store could fill the log
            self._is_told = True
            _logger.error(
                "an entry in the store was altered, or was written by another program or with "
                "another REPRISE_STORE_SECRET; such entries are not served (logged only once)"
            )
        raise BrokenSeal("the entry is not as it was written")
