"""The commands of valkey-search, and the meaning of the replies. Pure.

The replies of valkey-search are flat lists. Its errors are texts that differ between versions.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Command = tuple[str | bytes | int, ...]

_NO_OPTION = re.compile(r"(?i)ALLSHARDS|syntax error|(unknown|unexpected|invalid) argument")
_TAG = re.compile(r"[0-9A-Za-z]+")  # such a text needs no escaping in a query
_DISTANCE = "__distance"
_M, _EF_CONSTRUCTION = 16, 200  # HNSW parameters: valkey-search's defaults
_LONGEST_TIMEOUT = 60_000  # milliseconds
_NEAREST, _FARTHEST = -0.01, 2.01  # cosine distances, with room for rounding


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """The parameters of an index.

    After at least `max_inserts` inserts into a generation, the next generation is opened.
    """

    algorithm: Literal["hnsw", "flat"] = "hnsw"
    ef_runtime: int = 100
    max_inserts: int = 10_000


@dataclass(frozen=True, slots=True)
class Search:
    """A search for the `k` nearest entries of a partition, with a time limit in seconds.

    `vector` is an embedding as little-endian float32 numbers.
    """

    partition: str
    vector: bytes
    k: int
    seconds: float


def create_index(name: str, prefix: str, dimensions: int, options: IndexOptions) -> Command:
    """Return the command that creates an index over all keys that begin with `prefix`.

    Only the fields that searches use are declared in the index.
    """
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
    """Return the command that searches the index `name`. The reply has keys and distances.

    The command asks for the distance, because a reply without any field also contains expired keys.
    `says_all_shards` adds the option ALLSHARDS. With this option, a search that does not finish is
    an error. Without it, the result of such a search is incomplete, and the reply does not say so.
    Raises ValueError if the partition contains characters other than letters and digits.
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
    """Return the pairs (key, distance) in a reply to a search.

    Raises TimeoutError if the search did not finish, ValueError for any other kind of reply.
    """
    if isinstance(reply, bytes):
        raise TimeoutError  # valkey-search 1.0 reports a timeout as a simple string
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
    """Return the number of documents in a reply to FT.INFO, or 0 if the reply has none."""
    if not isinstance(info, list):
        return 0
    facts = dict(zip(info[::2], info[1::2], strict=False))
    return int(facts.get(b"num_docs", 0))


def limit_in(memory: Any) -> int:
    """Return the memory limit in a reply to INFO, in bytes; 0 if there is no limit.

    The result is the sum of the limits of all nodes.
    """
    limits = re.findall(rb"(?m)^maxmemory:(\d+)", memory) if isinstance(memory, bytes) else []
    return sum(map(int, limits))


def names_in(reply: Any) -> list[str]:
    """Return the names of indexes in a reply to FT._LIST, or [] if the reply is an error."""
    return [name.decode() for name in reply] if isinstance(reply, list) else []


def is_missing(refusal: object) -> bool:
    """Whether a reply is the error that says that an index does not exist."""
    return isinstance(refusal, Exception) and "not found" in str(refusal)


def is_there_already(refusal: object) -> bool:
    """Whether a reply is the error that says that an index exists already."""
    return isinstance(refusal, Exception) and "already exists" in str(refusal)


def is_not_loaded(refusal: object) -> bool:
    """Whether a reply is the error of a server that does not have the module valkey-search."""
    return isinstance(refusal, Exception) and "unknown command" in str(refusal)


def knows_no_all_shards(refusal: object) -> bool:
    """Whether a reply is an error that may mean that valkey-search has no option ALLSHARDS."""
    return isinstance(refusal, Exception) and _NO_OPTION.search(str(refusal)) is not None


@dataclass(frozen=True, slots=True)
class Room:
    """The bytes that a vector takes in an index, and the server's memory limit (0 for no limit)."""

    vector_bytes: int
    limit: int

    def is_crowded_by(self, dead: int) -> bool:
        """Whether `dead` removed vectors take more than an eighth of the memory limit."""
        return 0 < self.limit < 8 * dead * self.vector_bytes


@dataclass(frozen=True, slots=True)
class Fill:
    """How full a generation is: the inserts so far, and the documents still in its index."""

    inserts: int
    documents: int

    @property
    def dead(self) -> int:
        """The number of removed vectors, whose memory is freed only when the index is dropped."""
        return max(0, self.inserts - self.documents)


def wants_successor(fills: Sequence[Fill], options: IndexOptions, room: Room) -> bool:
    """Whether a new generation should be opened.

    It should be opened if the newest generation (`fills[0]`) is full, or if the removed vectors of
    the newest generation take too much memory.
    """
    newest, alive = fills[0], sum(fill.documents for fill in fills)
    is_full = newest.inserts >= max(options.max_inserts, 2 * alive)
    return is_full or room.is_crowded_by(newest.dead)


def may_retire(fills: Sequence[Fill], room: Room) -> bool:
    """Whether the oldest generation (the last of `fills`) may be dropped.

    A single generation may not be dropped. If there are more than two, the oldest may always be
    dropped. If there are two, the older one may be dropped when at most a tenth of its vectors are
    alive. It may also be dropped if its removed vectors take too much memory and at most half of
    its vectors are alive. The living entries are copied before a generation is dropped.
    """
    if len(fills) != 2:  # noqa: PLR2004
        return len(fills) > 1
    oldest = fills[-1]
    if room.is_crowded_by(oldest.dead):
        return oldest.documents * 2 <= oldest.inserts
    return oldest.documents * 10 <= oldest.inserts
