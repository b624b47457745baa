"""What an entry takes of the memory of this process, in bytes.

Contents, texts and keys are counted as they are; what surrounds each entry is a constant that was
measured by tracemalloc, with CPython 3.11 and numpy 2.
"""

from collections.abc import Iterable
from sys import getsizeof

from app.core.models import Embedding, StoredEmbedding, StoredResponse

_AROUND_A_RESPONSE = 700  # its objects, and its places among all entries
_AROUND_A_ROW = 900  # a partition of its own, of which most have few rows
_AROUND_AN_EMBEDDING = 720


def size_of(stored: StoredResponse) -> int:
    """Return the size of a response without its embedding."""
    texts = (
        *(stored.key.partition, stored.key.digest, stored.key.text, stored.model, stored.parts),
        *(stored.allow_origin, stored.upstream_id, stored.caller, stored.vector_digest),
        *(stored.tagging.namespace, *stored.tagging.tags, *stored.askers),
    )
    return _AROUND_A_RESPONSE + getsizeof(stored.content) + _size_of_all(texts)


def size_of_row(embedding: Embedding) -> int:
    """Return the size of an embedding by which a response is found."""
    return _AROUND_A_ROW + int(embedding.nbytes)


def size_of_embedding(stored: StoredEmbedding) -> int:
    """Return the size of an embedding that the upstream has made."""
    texts = (stored.id, stored.model, stored.allow_origin, stored.caller)
    return _AROUND_AN_EMBEDDING + getsizeof(stored.numbers) + _size_of_all(texts)


def _size_of_all(texts: Iterable[str | None]) -> int:
    return sum(getsizeof(text) for text in texts if text)
