"""The names of everything that the cache keeps in Valkey. Pure.

    cache:epoch                                a purge replaces it; another era's are dead
    cache:<model>:generations                  the numbers of the living ones, newest first
    cache:<model>:inserts                      how much each has taken, a hash
    cache:<model>:lease                        who is tidying up
    cache:flight:<model>:<digest>              the lease of who is asking the upstream
    cache:<model>:<generation>:<digest>        a stored response
    cache:<model>:<generation>                 no key: the index of a generation
    embedding:<digest>                         an embedding of the upstream's

`<model>` is a fingerprint of the embedding model: what another one has made is never compared.
No key has a hash tag, and no command names two: a cluster may spread them as it likes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from app.stores.codec import VERSION

EPOCH = "cache:epoch"
ALL_ENTRIES = "cache:????????????:*:*"  # of whatever model
ALL_EMBEDDINGS = "embedding:*"

_EMBEDDING = "embedding:"
_PARTS = 4  # of an entry's key


def embedding_key(digest: str) -> str:
    """Name the key of an embedding."""
    return f"{_EMBEDDING}{digest}"


def embedding_digest(key: str) -> str:
    """Return the digest that an embedding's key ends with."""
    return key.removeprefix(_EMBEDDING)


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of one embedding model's keys and indexes."""

    model: str

    @classmethod
    def of(cls, embedder: str, dimensions: int) -> "Keys":
        """Name what belongs to an embedder."""
        told = f"{embedder}\0{dimensions}\0{VERSION.decode()}"
        return cls(hashlib.sha256(told.encode()).hexdigest()[:12])

    @property
    def generations(self) -> str:
        """Name the list of living generations."""
        return f"cache:{self.model}:generations"

    @property
    def inserts(self) -> str:
        """Name the hash of what each generation has taken."""
        return f"cache:{self.model}:inserts"

    @property
    def lease(self) -> str:
        """Name the lease of who is tidying up."""
        return f"cache:{self.model}:lease"

    def flight(self, digest: str) -> str:
        """Name the lease of who is asking for an answer."""
        return f"cache:flight:{self.model}:{digest}"

    @property
    def entries(self) -> str:
        """Return the pattern of all entries' keys."""
        return f"cache:{self.model}:*:*"

    def index(self, generation: int) -> str:
        """Name the index of a generation."""
        return f"cache:{self.model}:{generation}"

    def prefix(self, generation: int) -> str:
        """Return what all keys of a generation begin with."""
        return f"cache:{self.model}:{generation}:"

    def entry(self, generation: int, digest: str) -> str:
        """Name the key of a stored response."""
        return f"{self.prefix(generation)}{digest}"

    def digest_of(self, key: str) -> str:
        """Return the digest that an entry's key ends with."""
        return key.split(":", _PARTS - 1)[-1]

    def generation_in(self, key: str) -> int | None:
        """Return the generation that a key belongs to, if it is one of this model's entries."""
        index, _, digest = key.rpartition(":")
        return self.generation_of(index) if digest else None

    def generation_of(self, index: str) -> int | None:
        """Return the generation that an index is of, if it is one of this model's."""
        head, _, number = index.rpartition(":")
        return int(number) if head == f"cache:{self.model}" and number.isdecimal() else None


def is_embedding(key: str) -> bool:
    """Whether a key is an embedding's."""
    return key.startswith(_EMBEDDING)


def listed(generations: Sequence[int]) -> str:
    """Write a list of generations."""
    return " ".join(map(str, generations))


def generations_in(told: object) -> tuple[int, ...]:
    """Read a list of generations; none where there is no list or it is damaged."""
    if not isinstance(told, bytes):
        return ()
    numbers = told.decode(errors="replace").split()
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        return ()
    return tuple(sorted(map(int, numbers), reverse=True))
