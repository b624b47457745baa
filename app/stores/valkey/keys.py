"""The names of all keys and indexes that the cache uses in Valkey. Pure.

    cache:epoch                                the current epoch, replaced by each purge
    cache:totals                               a hash: sums by name
    cache:<model>:generations                  the living generations' numbers, newest first
    cache:<model>:inserts                      a hash: the number of inserts by generation
    cache:<model>:lease                        the lease of the proxy that does the upkeep
    cache:flight:<model>:<digest>              the lease of the proxy that asks the upstream
    cache:<model>:<generation>:<digest>        a stored response
    cache:<model>:<generation>                 not a key: the index of a generation
    embedding:<digest>                         an embedding made by the upstream

`<model>` is a fingerprint of the embedding model: embeddings of different models are never
compared. No key has a hash tag, and no command uses two keys, so a cluster can place each key on
any shard.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from app.stores.codec import VERSION

EPOCH = "cache:epoch"
ALL_ENTRIES = "cache:????????????:*:*"  # the entries of all models
TOTALS = "cache:totals"
ALL_EMBEDDINGS = "embedding:*"

_EMBEDDING = "embedding:"
_PARTS = 4  # parts of an entry's key, separated by colons


def embedding_key(digest: str) -> str:
    """Return the key of an embedding."""
    return f"{_EMBEDDING}{digest}"


def embedding_digest(key: str) -> str:
    """Return the digest at the end of an embedding's key."""
    return key.removeprefix(_EMBEDDING)


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of one embedding model's keys and indexes."""

    model: str

    @classmethod
    def of(cls, embedder: str, dimensions: int) -> "Keys":
        """Return the names for an embedding model."""
        told = f"{embedder}\0{dimensions}\0{VERSION.decode()}"
        return cls(hashlib.sha256(told.encode()).hexdigest()[:12])

    @property
    def generations(self) -> str:
        """The key of the list of living generations."""
        return f"cache:{self.model}:generations"

    @property
    def inserts(self) -> str:
        """The key of the hash with the number of inserts of each generation."""
        return f"cache:{self.model}:inserts"

    @property
    def lease(self) -> str:
        """The key of the lease for the upkeep."""
        return f"cache:{self.model}:lease"

    def flight(self, digest: str) -> str:
        """Return the key of the lease `digest`.

        The lease allows its holder to ask the upstream for an answer. The lease's name begins with
        the digest of that answer.
        """
        return f"cache:flight:{self.model}:{digest}"

    @property
    def entries(self) -> str:
        """The pattern that matches the keys of all entries of this model."""
        return f"cache:{self.model}:*:*"

    def index(self, generation: int) -> str:
        """Return the name of the index of a generation."""
        return f"cache:{self.model}:{generation}"

    def prefix(self, generation: int) -> str:
        """Return the text with which all keys of a generation's entries begin."""
        return f"cache:{self.model}:{generation}:"

    def entry(self, generation: int, digest: str) -> str:
        """Return the key of a stored response in a generation."""
        return f"{self.prefix(generation)}{digest}"

    def digest_of(self, key: str) -> str:
        """Return the digest at the end of an entry's key."""
        return key.split(":", _PARTS - 1)[-1]

    def generation_in(self, key: str) -> int | None:
        """Return the generation in an entry's key.

        Return None if the key does not belong to an entry of this model.
        """
        index, _, digest = key.rpartition(":")
        return self.generation_of(index) if digest else None

    def generation_of(self, index: str) -> int | None:
        """Return the generation in an index's name.

        Return None if the name does not belong to an index of this model.
        """
        head, _, number = index.rpartition(":")
        return int(number) if head == f"cache:{self.model}" and number.isdecimal() else None


def is_embedding(key: str) -> bool:
    """Whether a key is the key of an embedding."""
    return key.startswith(_EMBEDDING)


def listed(generations: Sequence[int]) -> str:
    """Return the text in which a list of generations is stored."""
    return " ".join(map(str, generations))


def generations_in(told: object) -> tuple[int, ...]:
    """Return the generations in a stored list, newest first, or () if it is absent or damaged."""
    if not isinstance(told, bytes):
        return ()
    numbers = told.decode(errors="replace").split()
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        return ()
    return tuple(sorted(map(int, numbers), reverse=True))
