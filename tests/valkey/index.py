"""The documents of one index and the search for the nearest.

A search is exact, whereas the module's HNSW may miss neighbours. Memory that HNSW never frees is
counted: a removed vector stays as a tombstone until the index is dropped. A vector that is written
again under the same key is replaced.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.valkey.schema import Definition, Tag, Vector

Values = Mapping[bytes, bytes | None]  # by identifier
_BLOCK = 10_240  # vectors by which the module's HNSW grows
_NODE_BYTES = 550  # what the module uses per vector in addition to the vector


@dataclass
class Document:
    """The indexed values of a hash. `expires_at` is in Unix milliseconds, negative for never."""

    expires_at: int
    tags: dict[bytes, set[bytes]]
    numbers: dict[bytes, float]


class Index:
    """Documents by key. `backfilled` is the indexed share of the hashes older than the index."""

    def __init__(self, definition: Definition, *, backfilled: float = 0.0) -> None:
        self.definition = definition
        self.is_ready = backfilled == 1
        self.backfilled = backfilled
        self.documents: dict[bytes, Document] = {}
        self.tombstones = 0
        self.failures = 0
        field = definition.vector
        self.vector = field.kind if field is not None and isinstance(field.kind, Vector) else None
        self.vector_identifier = field.identifier if field is not None else None
        self._tagged: dict[bytes, dict[bytes, set[bytes]]] = defaultdict(lambda: defaultdict(set))
        self._rows: dict[bytes, int] = {}
        self._free: list[int] = []
        dimensions = self.vector.dimensions if self.vector is not None else 0
        self._matrix: NDArray[np.float32] = np.zeros((256, dimensions), np.float32)
        self._is_alive: NDArray[np.bool_] = np.zeros(256, np.bool_)
        self._keys: list[bytes] = []

    @property
    def vectors(self) -> int:
        return len(self._rows)

    @property
    def identifiers(self) -> list[bytes]:
        return [field.identifier for field in self.definition.fields.values()]

    @property
    def capacity(self) -> int:
        """The number of vectors that there is room for."""
        initial = self.vector.capacity if self.vector is not None else 0
        return max(initial, -(-(self.vectors + self.tombstones) // _BLOCK) * _BLOCK)

    @property
    def memory(self) -> int:
        """Roughly the bytes that the module would use."""
        size = self.vector.size if self.vector is not None else 0
        return (self.vectors + self.tombstones) * (size + _NODE_BYTES)

    @property
    def reclaimable(self) -> int:
        """The bytes of removed vectors."""
        return self.tombstones * self.vector.size if self.vector is not None else 0

    def size_of(self, attribute: bytes) -> int:
        """Count the documents that have an attribute."""
        if isinstance(self.definition.fields[attribute].kind, Vector):
            return self.vectors
        return sum(attribute in d.tags or attribute in d.numbers for d in self.documents.values())

    def put(self, key: bytes, values: Values, expires_at: int) -> None:
        """Index a hash, or index it again. If its vector has another length, the index drops it."""
        had_vector = key in self._rows
        document = Document(expires_at, *self._attributes(values))
        self._forget_tags(key)
        self.documents[key] = document
        for attribute, tags in document.tags.items():
            for tag in tags:
                self._tagged[attribute][tag].add(key)
        if self.vector is None or self.vector_identifier is None:
            return
        blob = values.get(self.vector_identifier)
        if blob is not None and len(blob) == self.vector.size:
            self._write(key, np.frombuffer(blob, "<f4"))
            return
        self._remove_vector(key)
        self.failures += blob is not None and not had_vector

    def remove(self, key: bytes) -> None:
        """Forget a document."""
        self._forget_tags(key)
        self.documents.pop(key, None)
        self._remove_vector(key)

    def tagged(self, attribute: bytes, tag: bytes, *, is_prefix: bool) -> set[bytes]:
        """Return the keys that have a tag, or a tag with this prefix."""
        tags = self._tagged[attribute]
        if not is_prefix:
            return tags.get(tag, set())
        return set().union(*(keys for other, keys in tags.items() if other.startswith(tag)))

    def nearest(
        self, query: NDArray[np.float32], most: int, among: set[bytes] | None
    ) -> list[tuple[bytes, np.float32]]:
        """Return keys and distances, nearest first."""
        if among is None:
            rows = np.flatnonzero(self._is_alive)
            distances = np.float32(1) - (self._matrix[: len(self._keys)] @ query)[rows]
        else:
            rows = np.array([self._rows[key] for key in among if key in self._rows], np.intp)
            distances = np.float32(1) - self._matrix[rows] @ query
        order = np.lexsort((rows, distances))[:most]
        return [(self._keys[rows[i]], distances[i]) for i in order]

    def _attributes(self, values: Values) -> tuple[dict[bytes, set[bytes]], dict[bytes, float]]:
        tags: dict[bytes, set[bytes]] = {}
        numbers: dict[bytes, float] = {}
        for attribute, field in self.definition.fields.items():
            value = values.get(field.identifier)
            if value is None:
                continue
            if isinstance(field.kind, Tag):
                tags[attribute] = field.kind.tags_of(value)
            elif field.kind is None:
                try:
                    numbers[attribute] = float(value)
                except ValueError:
                    self.failures += 1
        return tags, numbers

    def _forget_tags(self, key: bytes) -> None:
        if (document := self.documents.get(key)) is None:
            return
        for attribute, tags in document.tags.items():
            for tag in tags:
                keys = self._tagged[attribute][tag]
                keys.discard(key)
                if not keys:
                    del self._tagged[attribute][tag]

    def _write(self, key: bytes, vector: NDArray[np.float32]) -> None:
        row = self._rows.get(key)
        if row is None:
            row = self._free.pop() if self._free else len(self._keys)
            if row == len(self._keys):
                self._keys.append(key)
            if row == len(self._matrix):
                self._matrix = np.concatenate([self._matrix, np.zeros_like(self._matrix)])
                self._is_alive = np.concatenate([self._is_alive, np.zeros_like(self._is_alive)])
            self._is_alive[row] = True
            self._rows[key] = row
            self._keys[row] = key
        self._matrix[row] = normalized(vector)

    def _remove_vector(self, key: bytes) -> None:
        if (row := self._rows.pop(key, None)) is None:
            return
        self._free.append(row)
        self._is_alive[row] = False
        self.tombstones += self.vector is not None and self.vector.algorithm == b"HNSW"


def normalized(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the vector scaled to length one. A vector of length zero is returned unchanged."""
    length = np.linalg.norm(vector)
    return vector if length == 0 else np.asarray(vector / length, np.float32)
