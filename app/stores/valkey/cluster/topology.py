"""Learns a cluster's layout from its nodes, and asks them again when the layout may be outdated."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress

from app.core.errors import Declined, DependencyFailed
from app.stores.valkey.client import Command, Reply
from app.stores.valkey.cluster.layout import Layout, Place, layout_in
from app.stores.valkey.cluster.nodes import Health, Nodes
from app.stores.valkey.url import Address

_ASK: Command = ("CLUSTER", "SLOTS")
_PAUSE = 0.1  # seconds until the nodes are asked again
_LASTS = 10.0  # seconds for which an answer is used


class Topology:
    """Knows the shards of a cluster and the health of its nodes.

    A node has at most `seconds` to return the layout.
    """

    def __init__(self, address: Address, seconds: float) -> None:
        self.health = Health()
        self._address = address
        self._seed = Place(address.host, address.port)
        self._lanes: list[Nodes] = []
        self._asked = self.lane(1, seconds)
        self._layout = Layout(())
        self._moved: dict[int, Place] = {}
        self._learnt_at = 0.0
        self._learning: asyncio.Task[None] | None = None

    @property
    def shards(self) -> Sequence[tuple[Place, ...]]:
        """The nodes of each shard, the primary first."""
        return self._layout.shards

    def lane(self, most: int, seconds: float) -> Nodes:
        """Return new connections to the nodes, for one purpose such as look-ups.

        `most` and `seconds` are passed to `Nodes`.
        """
        nodes = Nodes(self._address, most, seconds, self.health)
        self._lanes.append(nodes)
        return nodes

    def shard_of(self, slot: int) -> tuple[Place, ...]:
        """Return the nodes that have a slot, the primary first; empty if no node has it."""
        moved = self._moved.get(slot)
        return self._layout.shard_of(slot) if moved is None else (moved,)

    def moved(self, slot: int, place: Place) -> None:
        """Record that a slot has moved to the node `place`."""
        self._moved[slot] = place
        self.doubt()

    async def known(self) -> None:
        """Wait until a layout is known. If the known layout is old, start to ask for a new one.

        Raises Declined or DependencyFailed if no layout is known and no node returns one.
        """
        if not self._layout.ranges:
            await asyncio.shield(self._learn())
        elif time.monotonic() > self._learnt_at + _LASTS:
            self._learn()

    def doubt(self) -> None:
        """Start to ask for the layout again, unless nodes were asked a moment ago."""
        if time.monotonic() > self._learnt_at + _PAUSE:
            self._learn()

    async def aclose(self) -> None:
        """Disconnect from all nodes."""
        if self._learning is not None:
            self._learning.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._learning
        for lane in self._lanes:
            await lane.aclose()

    def _learn(self) -> asyncio.Task[None]:
        if self._learning is None:
            self._learning = asyncio.create_task(self._ask_around())
            self._learning.add_done_callback(self._learnt)
        return self._learning

    def _learnt(self, task: asyncio.Task[None]) -> None:
        self._learning = None
        self._learnt_at = time.monotonic()
        if not task.cancelled():
            task.exception()  # marks it as retrieved; whoever awaits the task gets it

    async def _ask_around(self) -> None:
        """Ask one node after another until one returns the layout.

        Nodes that did not answer their last request are asked last.
        """
        places = {place for shard in self.shards for place in shard} - {self._seed}
        others = random.sample(sorted(places), len(places))  # in random order: one may be outdated
        told: Reply = None
        for place in sorted([*others, self._seed], key=lambda p: not self.health.is_well(p)):
            (told,) = await self._asked.ask(place, [_ASK])
            if isinstance(told, list) and (layout := layout_in(told, place)).ranges:
                await self._take(layout)
                return
        if isinstance(told, Declined):
            raise told
        raise DependencyFailed(f"no node reports the layout of the cluster: {told}")

    async def _take(self, layout: Layout) -> None:
        self._layout, self._moved = layout, {}
        places = {self._seed, *(place for shard in layout.shards for place in shard)}
        self.health.keep(places)
        for lane in self._lanes:
            await lane.keep(places)
