"""Which node of a cluster has which keys. Pure.

A key belongs to one of 16,384 slots. A slot belongs to one shard, which is a primary and its
replicas. See https://valkey.io/topics/cluster-spec/.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from valkey.crc import key_slot

_REDIRECTION = re.compile(r"(MOVED|ASK) (\d+) (\S*):(\d+)")
_UNKNOWN = "?"  # the host that a node reports if it does not know its own name


class Place(NamedTuple):
    """The address of a node."""

    host: str
    port: int


class Range(NamedTuple):
    """The slots from `first` to `last`, and the nodes that have these slots, the primary first."""

    first: int
    last: int
    places: tuple[Place, ...]


class Redirection(NamedTuple):
    """A reply in which a node says that the node `place` has the slot of a command's key.

    `is_passing` is True if the slot is still being moved (ASK): the reply then applies to this one
    command. It is False if the slot has been moved completely (MOVED).
    """

    slot: int
    place: Place
    is_passing: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a cluster as one of its nodes reports it. `ranges` are sorted by slot."""

    ranges: Sequence[Range]

    @property
    def shards(self) -> list[tuple[Place, ...]]:
        """Return the nodes of each shard, the primary first."""
        return list({told.places[0]: told.places for told in self.ranges}.values())

    def shard_of(self, slot: int) -> tuple[Place, ...]:
        """Return the nodes that have a slot, the primary first, or () if no node has the slot."""
        index = bisect_right(self.ranges, slot, key=lambda told: told.first) - 1
        if index < 0 or slot > self.ranges[index].last:
            return ()
        return self.ranges[index].places


def slot_of(key: str | bytes) -> int:
    """Return the slot of a key."""
    slot: int = key_slot(key.encode() if isinstance(key, str) else key)
    return slot


def layout_in(reply: Any, asked: Place) -> Layout:
    """Return the layout in a reply to CLUSTER SLOTS. Raises ValueError for any other reply.

    `asked` is the node that replied.
    """
    if not isinstance(reply, list):
        raise ValueError("not the slots of a cluster")
    ranges = []
    for first, last, primary, *replicas in reply:
        told = _place(primary, asked)
        if told is not None:
            others = [_place(replica, asked) for replica in replicas]
            ranges.append(Range(first, last, (told, *(p for p in others if p is not None))))
    return Layout(sorted(ranges))


def redirection_in(reply: object, asked: Place) -> Redirection | None:
    """Return the redirection in a MOVED or ASK error, or None for any other reply.

    `asked` is the node that replied.
    """
    if not isinstance(reply, Exception):
        return None
    told = _REDIRECTION.fullmatch(str(reply))
    if told is None:
        return None
    kind, slot, host, port = told.groups()
    return Redirection(int(slot), Place(_host(host, asked), int(port)), kind == "ASK")


def _place(told: Sequence[Any], asked: Place) -> Place | None:
    name = (told[0] or b"").decode()
    return None if name == _UNKNOWN else Place(_host(name, asked), int(told[1]))


def _host(name: str, asked: Place) -> str:
    """Return `name`. If `name` is empty or `?` (unknown), return the host of the node `asked`."""
    return name if name not in {"", _UNKNOWN} else asked.host
