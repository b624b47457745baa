"""The commands that write and read entries in Valkey, and the meaning of their replies.

Each function named `write_…`, `read_…` or `amend_…` returns a command, and the caller sends it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from app.core.epochs import is_dead
from app.core.errors import Declined, DependencyFailed
from app.core.models import CHAT_COMPLETION, Embedding, StoredEmbedding, StoredResponse
from app.core.selectors import Selector
from app.stores.codec import (
    caller_in,
    fields_bytes,
    fields_of,
    labels_in,
    upstream_id_in,
    vector_bytes,
    vector_of,
)
from app.stores.seal import SEAL, BrokenSeal, Seal
from app.stores.valkey.client import Command, Refused, Reply, checked

T = TypeVar("T", StoredResponse, StoredEmbedding)

RESPONSE_FIELDS = (
    *("version", "partition", "response", "encoding", "model"),
    *("created_at", "lifetime", "stale", "epoch", "prompt", "parts"),
    *("namespace", "tags", "disputed", "fullness", "allow_origin", "dialect", "upstream_id"),
    *("caller", "seconds", "vector", "askers", "pinned", SEAL),
)

_LIFE = ("created_at", "lifetime", "stale", "epoch", "dialect")
_AS_READ = ("created_at", "disputed", "askers", "pinned")
_SELECTED_BY = ("model", "namespace", "tags", "upstream_id", "caller", "embedding")

# Write a hash and its expiry atomically. If memory is short, nothing is written. With NX, write
# only if the key does not exist.
_WRITE = """#!lua
if ARGV[2] == 'NX' and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
"""

# Change a response only if it was neither replaced nor amended since it was read.
_AMEND = """#!lua
local found = redis.call('HMGET', KEYS[1], 'created_at', 'disputed', 'askers', 'pinned')
for i = 1, 4 do if (found[i] or '') ~= ARGV[i] then return 0 end end
if #ARGV == 4 then return redis.call('UNLINK', KEYS[1]) end
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
return 1
"""

# Remove a copy only if it was not replaced.
_REMOVE_COPY = """#!lua
local found = redis.call('HMGET', KEYS[1], 'created_at', 'epoch')
if found[1] ~= ARGV[1] or found[2] ~= ARGV[2] then return 0 end
return redis.call('UNLINK', KEYS[1])
"""


def write_hash(
    key: str, fields: Mapping[str, bytes], milliseconds: int, *, only_new: bool = False
) -> Command:
    """Return the command that writes a hash, replacing any older value of the key.

    The hash expires after `milliseconds`. If `only_new` is True and the key exists, nothing is
    written.
    """
    pairs = (item for pair in fields.items() for item in pair)
    return ("EVAL", _WRITE, 1, key, milliseconds, "NX" if only_new else "", *pairs)


def write_response(
    key: str,
    stored: StoredResponse,
    embedding: Embedding | None,
    milliseconds: int,
    seal: Seal,
) -> Command:
    """Return the command that writes a stored response. It expires after `milliseconds`.

    If `embedding` is None, only exact matches find the response.
    """
    vector = None if embedding is None else vector_bytes(embedding)
    fields = seal.response_fields(seal.with_vector(stored, vector))
    if vector is not None:
        fields["embedding"] = vector
    return write_hash(key, fields, milliseconds)


def read_response(key: str) -> Command:
    """Return the command that reads a stored response without its vector."""
    return ("HMGET", key, *RESPONSE_FIELDS)


def read_life(key: str) -> Command:
    """Return the command that reads the fields that `Reader.is_alive` and `Reader.dialect` need."""
    return ("HMGET", key, *_LIFE)


def amend_response(
    key: str, stored: StoredResponse, amended: StoredResponse | None, seal: Seal
) -> Command:
    """Return the command that changes a stored response, or removes it if `amended` is None.

    If the response has changed since `stored` was read, the command does nothing and the reply is
    0. Otherwise the reply is 1.
    """
    read = seal.response_fields(stored)
    command: Command = ("EVAL", _AMEND, 1, key, *(read.get(name, b"") for name in _AS_READ))
    if amended is None:
        return command
    fields = seal.response_fields(amended)
    pairs = ((name, fields.get(name, b"")) for name in (*_AS_READ[1:], SEAL))
    return (*command, *(item for pair in pairs for item in pair))


def read_choice(key: str, selector: Selector) -> Command:
    """Return the command that reads those fields of a response that a selector needs."""
    return ("HMGET", key, *(_SELECTED_BY if selector.near else _SELECTED_BY[:-1]))


def is_chosen(values: Reply, selector: Selector, dimensions: int) -> bool:
    """Whether a selector selects the response whose fields are in a reply to `read_choice`."""
    if isinstance(values, Exception):
        return False
    fields = _fields(_SELECTED_BY, values)
    embedding = embedding_in(fields.get("embedding"), dimensions)
    try:
        named = fields["model"].decode(), labels_in(fields), upstream_id_in(fields)
        return selector.selects(*named, embedding, caller_in(fields))
    except (KeyError, ValueError):
        return False  # damaged entries are never served, so they need not be selected


def read_vector(key: str) -> Command:
    """Return the command that reads the vector of a stored response."""
    return ("HGET", key, "embedding")


def embedding_in(vector: Reply, dimensions: int) -> Embedding | None:
    """Return the embedding in a reply to `read_vector`.

    Return None if there is no embedding, or if it is damaged or has another length.
    """
    try:
        return vector_of(_bytes(vector), dimensions)
    except ValueError:
        return None


def write_embedding(key: str, stored: StoredEmbedding, milliseconds: int, seal: Seal) -> Command:
    """Return the command that writes a stored embedding. It expires after `milliseconds`.

    The embedding is written as one string, which takes less memory than a hash.
    """
    return ("SET", key, fields_bytes(seal.embedding_fields(stored)), "PX", milliseconds)


def read_embedding(key: str) -> Command:
    """Return the command that reads a stored embedding."""
    return ("GET", key)


@dataclass(frozen=True, slots=True)
class Copy:
    """All fields of a hash, and the hash's remaining lifetime in milliseconds."""

    fields: Mapping[str, bytes]
    milliseconds: int

    def write(self, key: str) -> Command:
        """Return the command that writes this copy to `key`, unless the key exists."""
        return write_hash(key, self.fields, self.milliseconds, only_new=True)

    def remove(self, key: str) -> Command:
        """Return the command that removes this copy from a key, unless the copy was replaced."""
        written = (self.fields["created_at"], self.fields["epoch"])
        return ("EVAL", _REMOVE_COPY, 1, key, *written)


def read_copy(key: str) -> tuple[Command, Command]:
    """Return two commands: one reads all fields of a hash, the other its remaining lifetime."""
    return ("HGETALL", key), ("PTTL", key)


def copy_of(values: Reply, left: Reply, epoch: str) -> Copy | None:
    """Return the copy of a hash from the two replies to `read_copy`.

    Return None if the hash is gone or damaged, or if its era (`core/epochs.py`) differs from the
    era of `epoch`.
    """
    if not isinstance(values, list) or not isinstance(left, int) or left <= 0:
        return None
    fields = {
        name.decode(errors="replace"): value
        for name, value in zip(values[::2], values[1::2], strict=True)
    }
    if is_dead(_shown(fields.get("epoch", b"")), epoch) or "created_at" not in fields:
        return None
    return Copy(fields, left)


def read_epoch(key: str) -> Command:
    """Return the command that reads the epoch of a stored response."""
    return ("HGET", key, "epoch")


def epoch_in(embedding: Reply) -> bytes | None:
    """Return the epoch of the embedding in a reply to `read_embedding`.

    Return None if the embedding is missing or damaged, or has no epoch.
    """
    try:
        return fields_of(_bytes(embedding)).get("epoch")
    except (ValueError, Refused, DependencyFailed):
        return None


class Reader:
    """Reads entries from replies, if they are valid.

    An entry is valid if its seal is right, it has this format version, its era (`core/epochs.py`)
    is not over, and it has not expired. `token` is the current epoch. `now` is in seconds since
    1970.
    """

    def __init__(self, token: str, now: float, seal: Seal) -> None:
        self._token = token
        self._now = now
        self._seal = seal

    def response(self, digest: str, values: Reply) -> StoredResponse | None:
        """Return the response in a reply to `read_response`, or None if it is missing or invalid.

        If an error reply says that the entry is damaged or that its node is away, the result is
        None. Any other error reply is raised.
        """
        fields = _fields(RESPONSE_FIELDS, [] if _is_lost(values) else checked(values))
        return self._valid(lambda: self._seal.response_of(digest, fields))

    def is_found_by(self, stored: StoredResponse, vector: Reply) -> bool:
        """Whether a reply to `read_vector` has the vector with which a response was written."""
        try:
            self._seal.check_vector(stored, _bytes(vector))
        except BrokenSeal:
            return False
        return True

    def embedding(self, digest: str, value: Reply) -> StoredEmbedding | None:
        """Return the embedding in a reply to `read_embedding`, or None if it is missing or invalid.

        Raises the same errors as `response`.
        """
        return self._valid(lambda: self._seal.embedding_of(digest, fields_of(_bytes(value))))

    def is_alive(self, values: Reply) -> bool:
        """Whether the response in a reply to `read_life` is neither purged nor expired."""
        return not isinstance(values, Exception) and self._lives(_fields(_LIFE, values))

    def dialect(self, values: Reply) -> str:
        """Return the dialect in a reply to `read_life`, or `chat_completion` if there is none."""
        fields = {} if isinstance(values, Exception) else _fields(_LIFE, values)
        return _shown(fields.get("dialect", b"")) or CHAT_COMPLETION

    def _lives(self, fields: Mapping[str, bytes]) -> bool:
        try:
            stored_at = float(fields["created_at"])
            lifetime = float(fields["lifetime"]) + float(fields.get("stale", 0))
        except (KeyError, ValueError):
            return False
        age = max(0.0, self._now - stored_at)
        return age < lifetime and not is_dead(_shown(fields.get("epoch", b"")), self._token)

    def _valid(self, read: Callable[[], T]) -> T | None:
        try:
            stored = read()
        except ValueError:
            return None  # missing, damaged, or written by another version
        is_valid = not is_dead(stored.epoch, self._token) and stored.left(self._now) > 0
        return stored if is_valid else None


def _fields(names: Sequence[str], values: Sequence[bytes | None]) -> dict[str, bytes]:
    return {name: value for name, value in zip(names, values, strict=False) if value is not None}


def _shown(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _bytes(value: Reply) -> bytes:
    return b"" if value is None or _is_lost(value) else checked(value)


def _is_lost(reply: Reply) -> bool:
    """Whether a reply says that a key's value has the wrong type, or that its node is away."""
    is_damage = isinstance(reply, Refused) and str(reply).startswith("WRONGTYPE")
    return is_damage or isinstance(reply, Declined)
