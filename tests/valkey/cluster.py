"""A cluster of real servers behind stand-ins for valkey-search: three primaries, three replicas.

It is created once for all tests of a process, in its own thread, because every test has its own
event loop. `async with valkey_cluster() as cluster` yields it, complete and empty; or the cluster
in VALKEY_URL, if that is one.
"""

import asyncio
import atexit
import os
import signal
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from valkey.asyncio.cluster import ValkeyCluster
from valkey.crc import key_slot

from tests.valkey.federation import Federation, NodeModule
from tests.valkey.process import Process
from tests.valkey.resp import Failure, Reply
from tests.valkey.server import StandIn
from tests.valkey.switches import Switches

T = TypeVar("T")

_SLOTS = 16_384
_SHARDS = 3
_NODE_TIMEOUT = 1000  # milliseconds
_OVER = {b"success", b"failed", b"cancelled"}
_CONFIG = {
    "cluster-enabled": "yes",
    "cluster-node-timeout": str(_NODE_TIMEOUT),
    "cluster-replica-validity-factor": "0",
    "cluster-require-full-coverage": "no",
    "cluster-allow-replica-migration": "no",
    "cluster-announce-ip": "127.0.0.1",
    "repl-diskless-sync-delay": "0",
    "bind": "127.0.0.1",
}


class Node(StandIn):
    """One node: its `port` is the relay's, at which clients and other nodes reach it."""

    def __init__(self, folder: Path, federation: Federation, number: int, ports: list[int]) -> None:
        self.port, self.number = ports[2 * number], number
        self.module = NodeModule(federation, self.port)
        own = {
            "cluster-port": str(ports[2 * number + 1]),
            "cluster-announce-port": str(self.port),
            "cluster-announce-bus-port": str(ports[2 * number + 1]),
        }
        folder.mkdir()
        (folder / "nodes.conf").write_text(_nodes_file(number, ports))
        super().__init__(Process(folder, {**_CONFIG, **own}), self.module, port=self.port)

    async def start(self) -> None:
        await super().start()
        self.module.is_up = True

    async def end(self, number: signal.Signals) -> None:
        self.module.is_up = False
        await super().end(number)

    async def ask(self, *words: bytes | str | int) -> Reply:
        """Send a command to the server itself. Raises RuntimeError if the server refuses it."""
        (reply,) = await self.module.catalog.admin.call(words)
        if isinstance(reply, Failure):
            raise RuntimeError(f"{words}: {reply.text!r}")
        return reply


class Nodes:
    """The six nodes, in the loop that they run in; named by their ports."""

    def __init__(self, folder: Path) -> None:
        ports = _free_ports(4 * _SHARDS)
        self.federation = Federation()
        nodes = [Node(folder / str(n), self.federation, n, ports) for n in range(2 * _SHARDS)]
        self.by_port = {node.port: node for node in nodes}

    async def start(self) -> None:
        await asyncio.gather(*(node.start() for node in self.by_port.values()))

    async def aclose(self) -> None:
        await asyncio.gather(*(node.aclose() for node in self.by_port.values()))

    async def make_whole(self) -> None:
        """Restart nodes that are down, wait until all agree, and empty the cluster."""
        self.federation.has_coordinator = False
        for node in self.by_port.values():
            if node.module.is_up:
                node.resume()
            else:
                await node.start()
            await node.ask("CONFIG", "SET", "cluster-node-timeout", _NODE_TIMEOUT)
            node.switches.loaded, node.switches.search_seconds = True, 0.0
            node.module.asked.clear()
        async with asyncio.timeout(30):
            while not await self.may_be_shared():
                await asyncio.sleep(0.05)
            for node in self.by_port.values():
                if await node.module.primary() is None:
                    await node.ask("FLUSHALL")
                    await node.ask("WAIT", 1, 5000)
        for node in self.by_port.values():
            await node.ask("PING")
            node.module.catalog.indexes.clear()

    async def may_be_shared(self) -> bool:
        """Whether every shard has its two nodes, and all nodes know that."""
        views = set()
        for node in self.by_port.values():
            info = await node.ask("CLUSTER", "INFO")
            if b"cluster_state:ok" not in info or b"cluster_slots_ok:16384" not in info:
                return False
            if b"master_link_status:down" in await node.ask("INFO", "replication"):
                return False
            slots = await node.ask("CLUSTER", "SLOTS")
            views.add(
                str(sorted((range_[0], [place[1] for place in range_[2:]]) for range_ in slots))
            )
        shards = {tuple(place[1] for place in range_[2:]) for range_ in slots}
        return len(views) == 1 and sorted(map(len, shards)) == [2] * _SHARDS

    async def shards(self) -> list[tuple[int, ...]]:
        """List the nodes of each shard, the primary first, as a running node reports them."""
        node = next(node for node in self.by_port.values() if node.module.is_up)
        slots = await node.ask("CLUSTER", "SLOTS")
        return list({tuple(place[1] for place in range_[2:]): None for range_ in slots})

    async def primary_of_slot(self, slot: int) -> int:
        node = next(node for node in self.by_port.values() if node.module.is_up)
        for first, last, primary, *_ in await node.ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return int(primary[1])
        raise LookupError(slot)

    async def migrate(self, first: int, last: int, port: int) -> None:
        source = self.by_port[await self.primary_of_slot(first)]
        name = (await self.by_port[port].ask("CLUSTER", "MYID")).decode()
        slots = ("SLOTSRANGE", first, last)
        await source.ask("CLUSTER", "MIGRATESLOTS", *slots, "NODE", name)
        while (
            await self._is_migrating(source, self.by_port[port]) or not await self.may_be_shared()
        ):
            await asyncio.sleep(0.01)
        for node in self.by_port.values():
            await node.module.catalog.look_again()

    async def _is_migrating(self, *nodes: Node) -> bool:
        told = [job for n in nodes for job in await n.ask("CLUSTER", "GETSLOTMIGRATIONS")]
        return any(job[b"state"] not in _OVER for job in told)

    async def migration(self, slot: int, port: int) -> AsyncIterator[int]:
        source = self.by_port[await self.primary_of_slot(slot)]
        target, moved = self.by_port[port], 0
        ids = [(await node.ask("CLUSTER", "MYID")).decode() for node in (source, target)]
        await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        yield moved
        while keys := await source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1):
            await source.ask("MIGRATE", "127.0.0.1", port, *keys, 0, 5000)
            yield (moved := moved + 1)
        await target.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
        await source.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
        yield moved


class Cluster:
    """The cluster, for tests in any event loop. Nodes are named by the ports of their relays."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._folder = tempfile.TemporaryDirectory(prefix="valkey-cluster-")
        self._nodes = Nodes(Path(self._folder.name))
        self._is_started = False
        atexit.register(self._close)

    @property
    def url(self) -> str:
        return f"valkey+cluster://127.0.0.1:{min(self._nodes.by_port)}"

    def switch_coordinator(self, *, on: bool) -> None:
        """Turn the coordinator on or off: nodes then search all shards, or only their own keys."""
        self._nodes.federation.has_coordinator = on

    async def add_user(self, user: str, *rules: str) -> None:
        """Make a user on every node."""
        for node in self._nodes.by_port.values():
            await self._do(node.add_user(user, *rules))

    async def denied(self, user: str) -> list[str]:
        """List the commands that any node has ever refused a user."""
        nodes = self._nodes.by_port.values()
        return [name for node in nodes for name in await self._do(node.denied(user))]

    async def make_whole(self) -> None:
        if not self._is_started:
            await self._do(self._nodes.start())
            self._is_started = True
        await self._do(self._nodes.make_whole())

    async def shards(self) -> list[tuple[int, int]]:
        """List primaries and their replicas."""
        return [(primary, replica) for primary, replica in await self._do(self._nodes.shards())]

    async def primaries(self) -> list[int]:
        """List the primaries, even those without a replica."""
        return [primary for primary, *_ in await self._do(self._nodes.shards())]

    async def primary_of(self, key: str) -> int:
        """Return the node that has a key."""
        return await self._do(self._nodes.primary_of_slot(key_slot(key.encode())))

    async def migrate(self, first: int, last: int, port: int) -> None:
        """Move slots from their primary to another one, all at once."""
        await self._do(self._nodes.migrate(first, last, port))

    async def migration(self, slot: int, port: int) -> AsyncIterator[int]:
        """Move a slot to another primary; yield after each step how many keys have moved.

        The steps are: the migration begins, each key moves, the migration ends.
        """
        steps = self._nodes.migration(slot, port)
        while (moved := await self._do(_next(steps))) is not None:
            yield moved

    async def settle(self) -> None:
        """Wait until the replicas have what their primaries have."""
        for primary, replica in await self.shards():
            await self.send(primary, "WAIT 1 5000")
            await self.send(replica, "PING")

    async def send(self, port: int, line: str) -> Any:
        """Send a command to one node, past its relay."""
        return await self._do(self._nodes.by_port[port].ask(*line.split()))

    async def kill(self, port: int) -> None:
        await self._do(self._nodes.by_port[port].kill())

    async def restart(self, port: int) -> None:
        await self._do(self._nodes.by_port[port].restart())

    def stop(self, port: int) -> None:
        """Freeze a node: it accepts connections but does not answer."""
        self._nodes.by_port[port].stop()

    def resume(self, port: int) -> None:
        self._nodes.by_port[port].resume()

    def asked(self, name: str) -> list[int]:
        """Return how often each node was asked a command of the module."""
        return [node.module.asked[name.encode()] for node in self._nodes.by_port.values()]

    async def set_node_timeout(self, milliseconds: int = _NODE_TIMEOUT) -> None:
        """Set after how long the nodes consider a silent node failed."""
        for port in self._nodes.by_port:
            await self.send(port, f"CONFIG SET cluster-node-timeout {milliseconds}")

    def indexes(self, port: int) -> list[str]:
        """List the indexes of one node only."""
        return [name.decode() for _, name in self._nodes.by_port[port].module.catalog.indexes]

    async def drop(self, port: int, index: str) -> None:
        """Remove an index from one node."""
        await self._do(self._nodes.by_port[port].module.catalog.drop(0, index.encode()))

    def switches(self, port: int) -> Switches:
        return self._nodes.by_port[port].switches

    async def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _close(self) -> None:
        if self._is_started:
            asyncio.run_coroutine_threadsafe(self._nodes.aclose(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._folder.cleanup()


@cache
def _the_cluster() -> Cluster:
    return Cluster()


@asynccontextmanager
async def valkey_cluster() -> AsyncIterator[Cluster]:
    """Yield the stand-in's cluster, whole, empty and without a coordinator."""
    cluster = _the_cluster()
    await cluster.make_whole()
    yield cluster


@asynccontextmanager
async def any_cluster() -> AsyncIterator[str]:
    """Yield the URL of an empty cluster: the one that VALKEY_URL names, or the stand-in's."""
    url = os.environ.get("VALKEY_URL", "")
    if "+cluster" not in url:
        async with valkey_cluster() as cluster:
            yield cluster.url
        return
    async with ValkeyCluster.from_url(url.replace("+cluster", "")) as client:
        await client.flushall(target_nodes=ValkeyCluster.PRIMARIES)
    yield url


async def _next(steps: AsyncIterator[int]) -> int | None:
    return await anext(steps, None)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _nodes_file(own: int, ports: list[int]) -> str:
    """Return the contents of a node's file of known nodes, as if all nodes had met."""
    lines = []
    for number in range(2 * _SHARDS):
        shard = number % _SHARDS
        port, bus = ports[2 * number : 2 * number + 2]
        place = f"127.0.0.1:{port}@{bus},,tls-port=0,shard-id={_id(100 + shard)}"
        flags = ("myself," if number == own else "") + ("master" if number < _SHARDS else "slave")
        first, last = shard * _SLOTS // _SHARDS, (shard + 1) * _SLOTS // _SHARDS - 1
        of, slots = ("-", f" {first}-{last}") if number < _SHARDS else (_id(shard), "")
        lines.append(f"{_id(number)} {place} {flags} {of} 0 0 {shard + 1} connected{slots}\n")
    return "".join([*lines, f"vars currentEpoch {_SHARDS} lastVoteEpoch 0\n"])


def _id(number: int) -> str:
    return f"{number + 1:040x}"
