"""The module's commands on the nodes of a cluster, with or without a coordinator."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress

from tests.valkey.errors import SearchError
from tests.valkey.module import SearchModule
from tests.valkey.query import Search, parse_search
from tests.valkey.resp import Failure, Reply, Simple
from tests.valkey.switches import Switches

_READ_ONLY = b"READONLY You can't write against a read only replica."
_TIMED_OUT = "Search operation cancelled due to timeout"
_CHANGES = {b"FT.CREATE", b"FT.DROPINDEX"}


class Federation:
    """The modules of all nodes by their ports; `has_coordinator` says whether they work together.

    If not, each node and its replicas have their own indexes, and find their own keys only.
    """

    def __init__(self) -> None:
        self.modules: dict[int, NodeModule] = {}
        self.has_coordinator = False

    async def primaries_seen_by(self, module: "NodeModule") -> list[int]:
        """List the ports of the nodes that a node considers primaries."""
        (slots,) = await module.catalog.admin.call(("CLUSTER", "SLOTS"))
        return list(dict.fromkeys(primary[1] for _, _, primary, *_ in slots))

    async def with_index(self, module: "NodeModule") -> list["NodeModule"]:
        """List the modules that get an index which is created on a node."""
        if self.has_coordinator:
            return [m for m in self.modules.values() if m.is_up]
        replicas = [m for m in self.modules.values() if await m.primary() == module.port]
        return [module, *replicas]


class NodeModule(SearchModule):
    """The module on one node, which its clients reach at `port`."""

    def __init__(self, federation: Federation, port: int) -> None:
        super().__init__("1.2.1", Switches(backfill_seconds=0.0))
        self.port = port
        self.is_up = False
        self.asked: Counter[bytes] = Counter()  # by clients
        self._federation = federation
        federation.modules[port] = self

    async def primary(self) -> int | None:
        """Return the port of the node's primary; None if it is not a replica or does not answer."""
        if not self.is_up:
            return None
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(0.1):
                (role,) = await self.catalog.admin.call(("ROLE",))
                return int(role[2]) if role[0] == b"slave" else None
        return None

    async def _look_at(self, client: int) -> tuple[int, str, bytes]:
        line, role = await self.catalog.admin.call(("CLIENT", "LIST", "ID", client), ("ROLE",))
        fields = dict(pair.partition("=")[::2] for pair in line.decode().split())
        return 0, fields.get("user", "default"), _READ_ONLY if role[0] == b"slave" else b""

    async def _answer(
        self, name: bytes, arguments: list[bytes], database: int, patterns: list[bytes]
    ) -> Reply:
        self.asked[name] += 1
        has_coordinator = self._federation.has_coordinator
        if name == b"FT.INFO" and arguments[1:] == [b"CLUSTER"]:
            self._index(database, arguments[0], patterns)
            if not has_coordinator:
                raise SearchError("ERR CLUSTER option is not valid in this configuration")
            return [Simple(b"mode"), Simple(b"cluster")]
        if name == b"FT.SEARCH" and has_coordinator:
            search = parse_search(arguments, is_old=False)
            if b"LOCALONLY" not in search.options:
                self._index(database, search.index, patterns)
                return await self._search_everywhere(search)
        reply = await super()._answer(name, arguments, database, patterns)
        if name in _CHANGES:
            for module in await self._federation.with_index(self):
                if module is not self:
                    with suppress(SearchError):
                        await SearchModule._answer(module, name, arguments, database, patterns)
        return reply

    async def _search_everywhere(self, search: Search) -> Reply:
        """Search all primaries; reply with an error if one does not answer within the timeout."""
        ports = await self._federation.primaries_seen_by(self)
        try:
            async with asyncio.timeout(search.timeout):
                replies = await asyncio.gather(
                    *(self._federation.modules[port].answer_another(search) for port in ports),
                    return_exceptions=True,
                )
                if any(isinstance(reply, ConnectionError) for reply in replies):
                    await asyncio.sleep(search.timeout)
        except TimeoutError:
            raise SearchError(_TIMED_OUT) from None
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        knn = search.knn
        assert knn is not None
        rows = sorted(_rows(replies), key=lambda row: _distance(row[1], knn.alias))
        nearest = rows[: knn.most][search.offset : search.offset + search.limit]
        return [len(nearest), *(item for row in nearest for item in row)]

    async def answer_another(self, search: Search) -> Reply:
        """Search this node's own keys on behalf of another node."""
        if not self.is_up:
            raise ConnectionResetError("the node is gone")
        await self.catalog.catch_up()
        return await self._search(0, self._index(0, search.index, [b"~*"]), search)


def _rows(replies: Sequence[Reply]) -> Iterator[tuple[bytes, list[bytes]]]:
    for reply in replies:
        assert not isinstance(reply, Failure)
        yield from zip(reply[1::2], reply[2::2], strict=True)


def _distance(fields: list[bytes], alias: bytes) -> float:
    return float(dict(zip(fields[::2], fields[1::2], strict=True))[alias])
