"""The commands of valkey-search, and what its replies mean. Pure.

Its replies are flat lists, its errors texts that differ between versions.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Command = tuple[str | bytes | int, ...]

_NO_OPTION = re.compile(r"(?i)ALLSHARDS|syntax error|(unknown|unexpected|invalid) argument")
_TAG = re.compile(r"[0-9A-Za-z]+")  # needs no escaping and is no pattern
_DISTANCE = "__distance"
_M, _EF_CONSTRUCTION = 16, 200  # of HNSW: valkey-search's defaults
_LONGEST_TIMEOUT = 60_000  # milliseconds
_NEAREST, _FARTHEST = -0.01, 2.01  # cosine distances, with room for rounding


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How indexes are made, and how many inserts one takes before the next is opened."""

    algorithm: Literal["hnsw", "flat"] = "hnsw"
    ef_runtime: int = 100
    max_inserts: int = 10_000


@dataclass(frozen=True, slots=True)
class Search:
    """A search for the nearest: `vector` is little-endian float32, of unit length."""

    partition: str
    vector: bytes
    k: int
    seconds: float


def create_index(name: str, prefix: str, dimensions: int, options: IndexOptions) -> Command:
    """Make an index over the keys with a prefix. What is not filtered is not declared."""
    vector: Command = ("TYPE", "FLOAT32", "DIM", dimensions, "DISTANCE_METRIC", "COSINE")
    if options.algorithm == "hnsw":
        vector += ("M", _M, "EF_CONSTRUCTION", _EF_CONSTRUCTION)
        vector += ("EF_RUNTIME", options.ef_runtime)
    schema: Command = ("SCHEMA", "partition", "TAG", "embedding", "VECTOR")
    schema += (options.algorithm.upper(), len(vector), *vector)
    return ("FT.CREATE", name, "ON", "HASH", "PREFIX", 1, prefix, *schema)


def search_index(
    name: str, search: Search, options: IndexOptions, *, says_all_shards: bool
) -> Command:
    """Return the command that searches an index for keys and distances.

    The distance is asked for because a reply without any field names expired keys as well. With
    ALLSHARDS a search that does not finish is an error; without, it would be a wrong answer. Raises
    ValueError for an odd partition.
    """
    if not _TAG.fullmatch(search.partition):
        raise ValueError("a partition is letters and digits")
    near = f"KNN {search.k} @embedding $vector EF_RUNTIME {options.ef_runtime} AS {_DISTANCE}"
    milliseconds = min(max(1, int(search.seconds * 1000)), _LONGEST_TIMEOUT)
    return (
        "FT.SEARCH",
        name,
        f"@partition:{{{search.partition}}}=>[{near}]",
        *(("ALLSHARDS",) if says_all_shards else ()),
        *("TIMEOUT", milliseconds, "RETURN", 1, _DISTANCE, "LIMIT", 0, search.k),
        *("PARAMS", 2, "vector", search.vector, "DIALECT", 2),
    )


def found_in(reply: Any) -> list[tuple[str, float]]:
    """Read the reply to a search: keys with their distances.

    Raises TimeoutError where it did not come to its end, ValueError where it is no such reply.
    """
    if isinstance(reply, bytes):
        raise TimeoutError  # version 1.0 says so in a simple string
    if not isinstance(reply, list) or len(reply) % 2 == 0:
        raise ValueError("not the reply to a search")
    found = []
    for key, row in zip(reply[1::2], reply[2::2], strict=True):
        if not isinstance(row, list) or len(row) != 2 or row[0] != _DISTANCE.encode():  # noqa: PLR2004
            continue
        distance = float(row[1])
        if math.isfinite(distance) and _NEAREST <= distance <= _FARTHEST:
            found.append((key.decode(), min(max(0.0, distance), 2.0)))
    return found


def documents_in(info: Any) -> int:
    """Read how many documents an index has from the reply to FT.INFO; 0 where it does not say."""
    if not isinstance(info, list):
        return 0
    facts = dict(zip(info[::2], info[1::2], strict=False))
    return int(facts.get(b"num_docs", 0))


def limit_in(memory: Any) -> int:
    """Read the limit of memory from the reply to INFO, that of all nodes: bytes, 0 for none."""
    limits = re.findall(rb"(?m)^maxmemory:(\d+)", memory) if isinstance(memory, bytes) else []
    return sum(map(int, limits))


def names_in(reply: Any) -> list[str]:
    """Read the reply to FT._LIST; none where the server does not say."""
    return [name.decode() for name in reply] if isinstance(reply, list) else []


def is_missing(refusal: object) -> bool:
    """Whether an error says that there is no such index."""
    return isinstance(refusal, Exception) and "not found" in str(refusal)


def is_there_already(refusal: object) -> bool:
    """Whether an error says that there is such an index."""
    return isinstance(refusal, Exception) and "already exists" in str(refusal)


def is_not_loaded(refusal: object) -> bool:
    """Whether an error says that the server does not have the module."""
    return isinstance(refusal, Exception) and "unknown command" in str(refusal)


def knows_no_all_shards(refusal: object) -> bool:
    """Whether an error says, or may say, that the module does not have ALLSHARDS."""
    return isinstance(refusal, Exception) and _NO_OPTION.search(str(refusal)) is not None


@dataclass(frozen=True, slots=True)
class Room:
    """What a vector takes in an index, and the server's limit; bytes, the limit 0 for none."""

    vector_bytes: int
    limit: int

    def is_crowded_by(self, dead: int) -> bool:
        """Whether so many dead vectors are too many: they take an eighth of the memory."""
        return 0 < self.limit < 8 * dead * self.vector_bytes


@dataclass(frozen=True, slots=True)
class Fill:
    """How full a generation is: what it has taken, and what of that is still there."""

    inserts: int
    documents: int

    @property
    def dead(self) -> int:
        """Count the vectors that are gone, whose memory only the end of the index frees."""
        return max(0, self.inserts - self.documents)


def wants_successor(fills: Sequence[Fill], options: IndexOptions, room: Room) -> bool:
    """Whether the newest generation, the first, has taken enough."""
    newest, alive = fills[0], sum(fill.documents for fill in fills)
    is_full = newest.inserts >= max(options.max_inserts, 2 * alive)
    return is_full or room.is_crowded_by(newest.dead)


def may_retire(fills: Sequence[Fill], room: Room) -> bool:
    """Whether the oldest generation, the last, may go.

    It may if there are more than two. Of two, it may if few of its vectors are alive, or if memory
    is short and at most half of them are: those that are alive will be copied.
    """
    if len(fills) != 2:  # noqa: PLR2004
        return len(fills) > 1
    oldest = fills[-1]
    if room.is_crowded_by(oldest.dead):
        return oldest.documents * 2 <= oldest.inserts
    return oldest.documents * 10 <= oldest.inserts
