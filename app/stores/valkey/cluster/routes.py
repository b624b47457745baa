"""Which nodes of a cluster a command is for, and what their replies amount to. Pure."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any

from app.core.errors import NodeAway, NodeFailed
from app.stores.valkey.keys import is_embedding
from app.stores.valkey.search import Command, documents_in, is_missing, is_there_already

_SHARDS = 1024  # more than a cluster has
_SCRIPT_KEY = 3  # EVAL script 1 key
_MAY_LAG = frozenset({"HMGET", "HSTRLEN", "FT.SEARCH"})


class Way(Enum):
    """Where a command goes: the shard of a key or cursor, every shard, or one, then the others.

    `AFTER` is for the nodes that got the command before.
    """

    KEY = "key"
    CURSOR = "cursor"
    EACH = "each"
    IN_TURN = "in turn"
    AFTER = "after"


_WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "SCAN": Way.CURSOR,
        "FT.SEARCH": Way.EACH,
        "FT.INFO": Way.EACH,
        "FT._LIST": Way.EACH,
        "INFO": Way.EACH,
        "DBSIZE": Way.EACH,
        # One node informs the others where the coordinator runs, which is to be waited for.
        "FT.CREATE": Way.IN_TURN,
        "FT.DROPINDEX": Way.IN_TURN,
        "WAIT": Way.AFTER,
    }
)


def way_of(command: Command) -> Way:
    """Return how the nodes are found that a command is for."""
    return _WAYS.get(str(command[0]), Way.KEY)


def key_of(command: Command) -> str:
    """Return the key of a command that has one."""
    return str(command[_SCRIPT_KEY if command[0] == "EVAL" else 1])


def may_lag(command: Command) -> bool:
    """Whether the reply to a command may be a moment old, and so come from a replica.

    Entries and embeddings may be, for their epoch shows what was purged; epoch and list of
    generations never may.
    """
    return command[0] in _MAY_LAG or (command[0] == "GET" and is_embedding(str(command[1])))


def shard_in(command: Command) -> tuple[int, Command]:
    """Take a SCAN of the cluster apart: the number of a shard, and the SCAN of that shard."""
    name, place, *rest = command
    cursor, shard = divmod(int(place), _SHARDS)
    return shard, (name, cursor, *rest)


def scanned(reply: Any, shard: int, shards: int) -> Any:
    """Return the reply to a SCAN of a shard as that of the cluster: the next shard's turn comes."""
    if not isinstance(reply, list):
        return reply
    cursor, keys = int(reply[0]), reply[1]
    if cursor:
        return [b"%d" % (cursor * _SHARDS + shard), keys]
    return [b"%d" % (shard + 1 if shard + 1 < shards else 0), keys]


def merged(command: Command, replies: Sequence[Any]) -> Any:
    """Return what the replies of all nodes that were asked one command amount to."""
    return replies[0] if len(replies) == 1 else _MERGES[str(command[0])](replies)


def _answered(replies: Sequence[Any]) -> Sequence[Any]:
    """Return the replies without those of nodes that are away, unless all are away.

    What is on a node that is away counts as evicted.
    """
    return [r for r in replies if not isinstance(r, NodeAway | NodeFailed)] or replies


def _refusal(replies: Sequence[Any]) -> Exception | None:
    return next((reply for reply in replies if isinstance(reply, Exception)), None)


def _nearest(replies: Sequence[Any]) -> Any:
    """Join what was found. One shard that has no index, or did not finish, spoils it."""
    answered = _answered(replies)
    if odd := [reply for reply in answered if not isinstance(reply, list)]:
        return odd[0]
    rows = [row for reply in answered for row in reply[1:]]
    return [len(rows) // 2, *rows]


def _names(replies: Sequence[Any]) -> Any:
    answered = _answered(replies)
    return _refusal(answered) or sorted({name for reply in answered for name in reply})


def _documents(replies: Sequence[Any]) -> Any:
    return _refusal(replies) or [b"num_docs", sum(map(documents_in, replies))]


def _total(replies: Sequence[Any]) -> Any:
    return _refusal(replies) or sum(replies)


def _texts(replies: Sequence[Any]) -> Any:
    return _refusal(replies) or b"\n".join(replies)


def _done(replies: Sequence[Any]) -> Any:
    """Merge replies about an index that was made or dropped: some may have done it already."""
    answered = _answered(replies)
    refusals = [reply for reply in answered if isinstance(reply, Exception)]
    real = [r for r in refusals if not is_there_already(r) and not is_missing(r)]
    if real or len(refusals) == len(answered):
        return (real or refusals)[0]
    return next(reply for reply in answered if not isinstance(reply, Exception))


_MERGES: Mapping[str, Callable[[Sequence[Any]], Any]] = MappingProxyType(
    {
        "FT.SEARCH": _nearest,
        "FT.INFO": _documents,
        "FT._LIST": _names,
        "INFO": _texts,
        "DBSIZE": _total,
        "FT.CREATE": _done,
        "FT.DROPINDEX": _done,
    }
)
