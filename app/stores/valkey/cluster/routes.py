"""Which nodes of a cluster get a command, and how their replies become one reply. Pure."""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any

from app.core.errors import NodeAway, NodeFailed
from app.stores.valkey.keys import is_embedding
from app.stores.valkey.search import Command, documents_in, is_missing, is_there_already

_SHARDS = 1024  # more shards than any cluster has
_SCRIPT_KEY = 3  # EVAL script 1 key
_MAY_LAG = frozenset({"HMGET", "HSTRLEN", "FT.SEARCH"})


class Way(Enum):
    """Which nodes get a command.

    `KEY`: the shard that has the command's key. `CURSOR`: the shard that the command's cursor has
    reached. `EACH`: every shard. `IN_TURN`: one shard, and after its reply all other shards.
    `AFTER`: the node that got the previous command of the same call.
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
        # With the coordinator, the first node informs the others; wait for that.
        "FT.CREATE": Way.IN_TURN,
        "FT.DROPINDEX": Way.IN_TURN,
        "WAIT": Way.AFTER,
    }
)


def way_of(command: Command) -> Way:
    """Return the rule by which the nodes for a command are chosen."""
    return _WAYS.get(str(command[0]), Way.KEY)


def key_of(command: Command) -> str:
    """Return the key in a command. The command must have a key."""
    return str(command[_SCRIPT_KEY if command[0] == "EVAL" else 1])


def may_lag(command: Command) -> bool:
    """Whether a replica may answer a command. A replica's data may be a moment old.

    A replica may return stored responses and embeddings. Each of them contains its epoch, so the
    caller can see whether it was purged. Only a primary may return the current epoch and the list
    of generations.
    """
    return command[0] in _MAY_LAG or (command[0] == "GET" and is_embedding(str(command[1])))


def shard_in(command: Command) -> tuple[int, Command]:
    """Return the number of the shard that a SCAN has reached, and the command for that shard."""
    name, place, *rest = command
    cursor, shard = divmod(int(place), _SHARDS)
    return shard, (name, cursor, *rest)


def scanned(reply: Any, shard: int, shards: int) -> Any:
    """Return a reply to SCAN for the whole cluster, made from the reply of one shard.

    `shard` is the number of that shard, and `shards` is how many shards there are. When the shard
    is finished, the returned cursor leads to the next shard. After the last shard, the returned
    cursor is 0.
    """
    if not isinstance(reply, list):
        return reply
    cursor, keys = int(reply[0]), reply[1]
    if cursor:
        return [b"%d" % (cursor * _SHARDS + shard), keys]
    return [b"%d" % (shard + 1 if shard + 1 < shards else 0), keys]


def merged(command: Command, replies: Sequence[Any]) -> Any:
    """Return one reply made from the replies of all nodes that got `command`."""
    return replies[0] if len(replies) == 1 else _MERGES[str(command[0])](replies)


def _answered(replies: Sequence[Any]) -> Sequence[Any]:
    """Return `replies` without NodeAway and NodeFailed, or all replies if there are no others.

    So entries on a node that does not answer count as evicted.
    """
    return [r for r in replies if not isinstance(r, NodeAway | NodeFailed)] or replies


def _refusal(replies: Sequence[Any]) -> Exception | None:
    return next((reply for reply in replies if isinstance(reply, Exception)), None)


def _nearest(replies: Sequence[Any]) -> Any:
    """Join the shards' replies to a search. If a shard replied with an error, return the error."""
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
    """Merge the nodes' replies to FT.CREATE or FT.DROPINDEX.

    A node may reply that the index exists already, or is already gone. This reply is not an error
    if another node has carried out the command.
    """
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
