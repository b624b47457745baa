"""A cluster that is used as if it were one server.

Every command has at most one key. A command with a key goes to the shard of that key. A command
without a key goes to the nodes that `routes.py` chooses. The commands for one node are sent in one
pipeline, in order.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.core.errors import NodeAway, NodeFailed
from app.stores.valkey.client import Command, Connections, Reply, Server
from app.stores.valkey.cluster.coordinator import Coordinator
from app.stores.valkey.cluster.layout import Place, Redirection, redirection_in, slot_of
from app.stores.valkey.cluster.nodes import Nodes
from app.stores.valkey.cluster.routes import (
    Way,
    key_of,
    may_lag,
    merged,
    scanned,
    shard_in,
    way_of,
)
from app.stores.valkey.cluster.topology import Topology
from app.stores.valkey.url import Address

_MOST_READING, _MOST_WRITING = 32, 16  # connections
_WRITE_SECONDS = 2.0
_REDIRECTIONS = 4  # how many redirections one command follows
_ASKING: Command = ("ASKING",)


def servers_at(address: Address, seconds: float) -> tuple[Server, Server]:
    """Return two servers: one for look-ups, which take at most `seconds`, and one for writes.

    The two have separate connections, because a write waits until its entry is indexed.
    """
    if not address.is_cluster:
        return (
            Connections(address, _MOST_READING, seconds),
            Connections(address, _MOST_WRITING, _WRITE_SECONDS),
        )
    topology = Topology(address, seconds)
    return (
        Cluster(topology, _MOST_READING, seconds, reads_replicas=address.reads_replicas),
        Cluster(topology, _MOST_WRITING, _WRITE_SECONDS),
    )


@dataclass(slots=True)
class Errand:
    """A command to be sent to a node, and the node's reply.

    `turn` is 0 or 1. In one call, commands with turn 1 are sent after all commands with turn 0 were
    answered. `is_telling` is True if a timeout is the fault of this node, and False if the node has
    to ask other nodes. `is_asking` is True if the command ASKING must be sent first, because the
    slot of the command's key is being moved.
    """

    command: Command
    place: Place
    turn: int = 0
    is_telling: bool = True
    is_asking: bool = False
    reply: Reply = None


class Cluster:
    """A cluster, with up to `most` connections to each node.

    A call takes at most `seconds`, even if nodes do not answer. If `reads_replicas` is True,
    replicas may answer commands that only read.
    """

    def __init__(
        self, topology: Topology, most: int, seconds: float, *, reads_replicas: bool = False
    ) -> None:
        self._topology = topology
        self._seconds = seconds
        self._nodes: Nodes = topology.lane(most, seconds)
        self._coordinator = Coordinator(self._nodes)
        self._reads_replicas = reads_replicas
        self._turn = itertools.count()

    @property
    def has_replicas(self) -> bool:
        """Whether a replica may replace a primary in a failover.

        A failover may lose recent writes.
        """
        return any(len(shard) > 1 for shard in self._topology.shards)

    async def call(self, *commands: Command) -> list[Reply]:
        """Send commands; return their replies in order.

        An error reply is returned as an exception, not raised. If a node does not answer a command,
        the reply is NodeAway or NodeFailed. Raises TimeoutError if the call takes too long, and
        Declined or DependencyFailed if the layout of the cluster is unknown and no node returns it.
        """
        async with asyncio.timeout(self._seconds):
            await self._topology.known()
            plans: list[list[Errand]] = []
            for command in commands:
                plans.append(self._plan(command, plans))
            errands = [errand for plan in plans for errand in plan]
            for turn in (0, 1):
                await self._run([errand for errand in errands if errand.turn == turn])
        return [
            self._amounts_to(command, plan) for command, plan in zip(commands, plans, strict=True)
        ]

    async def aclose(self) -> None:
        """Disconnect."""
        await self._coordinator.aclose()
        await self._topology.aclose()

    def _plan(self, command: Command, before: Sequence[Sequence[Errand]]) -> list[Errand]:
        if (way := way_of(command)) is Way.KEY:
            shard = self._topology.shard_of(slot_of(key_of(command)))
            return [Errand(command, self._of(shard, command))] if shard else []
        shards = self._topology.shards
        match way:
            case Way.CURSOR:
                number, scan = shard_in(command)
                return [Errand(scan, shards[number][0])] if number < len(shards) else []
            case Way.AFTER:
                return [Errand(command, errand.place) for errand in before[-1][:1]]
            case Way.IN_TURN:
                places = self._well_first(shard[0] for shard in shards)
                return [
                    Errand(command, place, turn=min(turn, 1), is_telling=False)
                    for turn, place in enumerate(places)
                ]
        if command[0] == "FT.SEARCH":
            return self._search(command, shards)
        return [Errand(command, shard[0]) for shard in shards]

    def _search(self, command: Command, shards: Sequence[Sequence[Place]]) -> list[Errand]:
        """Return the errands of a search: one for each shard, or one for the whole cluster.

        One errand is enough if valkey-search's coordinator runs and all primaries answer.
        """
        primaries = [shard[0] for shard in shards]
        one = primaries[next(self._turn) % len(primaries)]
        are_well = all(map(self._topology.health.is_well, primaries))
        if self._coordinator.runs(str(command[1]), one) and are_well:
            return [Errand(command, one, is_telling=False)]
        local = (*command, "LOCALONLY")
        return [Errand(local, self._of(shard, command)) for shard in shards]

    def _of(self, shard: Sequence[Place], command: Command) -> Place:
        """Return the node of a shard to which a command is sent: the primary or a replica.

        If the settings and the command allow a replica, the replicas that answer are used in turn.
        If a replica is not allowed, or no replica answers, the primary is used.
        """
        if self._reads_replicas and may_lag(command):
            well = [place for place in shard[1:] if self._topology.health.is_well(place)]
            if well:
                return well[next(self._turn) % len(well)]
        return shard[0]

    def _well_first(self, places: Iterable[Place]) -> list[Place]:
        return sorted(places, key=lambda place: not self._topology.health.is_well(place))

    async def _run(self, errands: Sequence[Errand]) -> None:
        """Send the errands to their nodes, follow redirections, and set each errand's reply."""
        for _ in range(_REDIRECTIONS):
            batches: dict[Place, list[Errand]] = defaultdict(list)
            for errand in errands:
                batches[errand.place].append(errand)
            await asyncio.gather(*(self._ask(place, batch) for place, batch in batches.items()))
            errands = [e for e in errands if self._is_redirected(e)]
            if not errands:
                return

    async def _ask(self, place: Place, batch: Sequence[Errand]) -> None:
        commands = [
            c for e in batch for c in ((_ASKING, e.command) if e.is_asking else (e.command,))
        ]
        is_telling = all(errand.is_telling for errand in batch)
        replies = iter(await self._nodes.ask(place, commands, is_telling=is_telling))
        for errand in batch:
            if errand.is_asking:
                next(replies)
            errand.reply = next(replies)
            if isinstance(errand.reply, NodeAway | NodeFailed):
                self._topology.doubt()

    def _is_redirected(self, errand: Errand) -> bool:
        told: Redirection | None = redirection_in(errand.reply, errand.place)
        if told is None:
            return False
        if not told.is_passing:
            self._topology.moved(told.slot, told.place)
        errand.place, errand.is_asking = told.place, told.is_passing
        return True

    def _amounts_to(self, command: Command, plan: Sequence[Errand]) -> Reply:
        match way_of(command):
            case Way.CURSOR if not plan:
                return [b"0", []]
            case Way.CURSOR:
                number, _ = shard_in(command)
                return scanned(plan[0].reply, number, len(self._topology.shards))
        return merged(command, [errand.reply for errand in plan]) if plan else NodeAway()
