"""The memory in bytes that an entry takes in this process.

Contents, texts and keys are measured for each entry. The overhead of an entry is a constant. It was
measured with tracemalloc, on CPython 3.11 with numpy 2.
"""

from collections.abc import Iterable
from sys import getsizeof

from app.core.models import Embedding, StoredEmbedding, StoredResponse

_AROUND_A_RESPONSE = 700  # its objects, and its items in the store's collections
_AROUND_A_ROW = 900  # includes a partition of its own, since most partitions have few rows
_AROUND_AN_EMBEDDING = 720


def size_of(stored: StoredResponse) -> int:
    """Return the bytes of memory that a response takes, its embedding not included."""
    texts = (
        *(stored.key.partition, stored.key.digest, stored.key.text, stored.model, stored.parts),
        *(stored.allow_origin, stored.upstream_id, stored.caller, stored.vector_digest),
        *(stored.tagging.namespace, *stored.tagging.tags, *stored.askers),
    )
    return _AROUND_A_RESPONSE + getsizeof(stored.content) + _size_of_all(texts)


def size_of_row(embedding: Embedding) -> int:
    """Return the bytes of memory that the embedding of a response's question takes."""
    return _AROUND_A_ROW + int(embedding.nbytes)


def size_of_embedding(stored: StoredEmbedding) -> int:
    """Return the bytes of memory that an embedding made by the upstream takes."""
    texts = (stored.id, stored.model, stored.allow_origin, stored.caller)
    return _AROUND_AN_EMBEDDING + getsizeof(stored.numbers) + _size_of_all(texts)


def _size_of_all(texts: Iterable[str | None]) -> int:
    return sum(getsizeof(text) for text in texts if text)
