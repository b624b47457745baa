"""Connections to the nodes of a cluster, with a circuit breaker for each node.

If a node hangs, its circuit breaker opens. While the breaker is open, the node gets only a trial
request from time to time. So the node delays the trial requests and no others.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace

from app.core.circuit_breaker import CircuitBreaker
from app.core.errors import NodeAway, NodeFailed, Overloaded
from app.stores.valkey.client import GREETING, Command, Connections, Reply
from app.stores.valkey.cluster.layout import Place
from app.stores.valkey.url import Address

_REST = 0.5  # seconds
_SHARE = 0.6  # share of a call's time for a node, so that its failure is known before the call ends
_CLOSING_SECONDS = 1.0

_logger = logging.getLogger("reprise.store")


class Health:
    """Knows which nodes answered when they were last asked."""

    def __init__(self) -> None:
        self._breakers: dict[Place, CircuitBreaker] = {}

    def is_well(self, place: Place) -> bool:
        """Whether a node answered the last request to it, or was never asked."""
        return place not in self._breakers or not self._breakers[place].is_open

    def allows(self, place: Place) -> bool:
        """Whether a node may be asked now.

        If the node did not answer its last request, the result is True only from time to time.
        The caller's next request to the node is a trial. It shows whether the node answers again.
        """
        return self._breaker(place).allows(time.monotonic())

    def answered(self, place: Place) -> None:
        """Record that a node answered."""
        if self._breaker(place).succeeded():
            _logger.warning("the node %s:%d of the cluster answers again", *place)

    def failed(self, place: Place, reason: str, *, was_well: bool) -> Exception:
        """Record that a node did not answer, because of `reason`. Return the error for the caller.

        `was_well` is the result of `is_well` before the request was sent. The error is NodeAway
        if `was_well` is True, but another request has already reported the failure. Otherwise the
        error is NodeFailed.
        """
        is_news = self._breaker(place).failed(time.monotonic())
        if is_news:
            _logger.error(
                "the node %s:%d of the cluster does not answer: %s; "
                "until it does, entries that only it has are misses",
                *place,
                reason,
            )
        if is_news or not was_well:
            return NodeFailed(f"the node {place.host}:{place.port} does not answer: {reason}")
        return NodeAway()

    def keep(self, places: Collection[Place]) -> None:
        """Forget all nodes except those in `places`."""
        self._breakers = {p: breaker for p, breaker in self._breakers.items() if p in places}

    def _breaker(self, place: Place) -> CircuitBreaker:
        return self._breakers.setdefault(place, CircuitBreaker(threshold=1, rest=_REST))


class Nodes:
    """Up to `most` connections to each node of a cluster.

    A call to one node takes at most 60 % of `seconds`, so that its failure is known before
    `seconds` have passed.
    """

    def __init__(self, address: Address, most: int, seconds: float, health: Health) -> None:
        self._address = address
        self._most = most
        self._seconds = _SHARE * seconds
        self._health = health
        # READONLY allows reads from a replica and does nothing on a primary.
        self._greeting = (GREETING, *((("READONLY",),) if address.reads_replicas else ()))
        self._connections: dict[Place, Connections] = {}
        # Created at the start, so that wrong settings raise an error at once.
        self._to(Place(address.host, address.port))

    async def ask(
        self, place: Place, commands: Sequence[Command], *, is_telling: bool = True
    ) -> list[Reply]:
        """Send commands to a node; return one reply for each command.

        If the node is not asked or does not answer, each reply is the error NodeAway, NodeFailed or
        Overloaded. If `is_telling` is True, a timeout opens the node's circuit breaker. Pass False
        if the node asks other nodes, because a timeout may be the fault of the other nodes.
        """
        if not self._health.allows(place):
            return [NodeAway()] * len(commands)
        was_well = self._health.is_well(place)
        try:
            replies = await self._to(place).call(*commands)
        except Overloaded as error:
            return [error] * len(commands)
        except Exception as error:  # noqa: BLE001 - whatever the client library raises
            if isinstance(error, TimeoutError) and not is_telling:
                return [NodeAway()] * len(commands)
            reason = type(error).__name__
        else:
            if not any(map(_is_down, replies)):
                self._health.answered(place)
                return replies
            reason = "the cluster is down"
        return [self._health.failed(place, reason, was_well=was_well)] * len(commands)

    async def keep(self, places: Collection[Place]) -> None:
        """Disconnect from all nodes except those in `places`."""
        for place in set(self._connections) - set(places):
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSING_SECONDS):
                    await self._connections.pop(place).aclose()

    async def aclose(self) -> None:
        """Disconnect from all nodes."""
        await self.keep(())

    def _to(self, place: Place) -> Connections:
        if (connections := self._connections.get(place)) is None:
            address = replace(self._address, host=place.host, port=place.port)
            connections = Connections(address, self._most, self._seconds, self._greeting)
            self._connections[place] = connections
        return connections


def _is_down(reply: Reply) -> bool:
    """Whether a reply is the error CLUSTERDOWN."""
    return isinstance(reply, Exception) and str(reply).startswith("CLUSTERDOWN")
