"""Answers the commands of valkey-search as the module would."""

import asyncio
import time

import numpy as np

from tests.valkey.acl import NAMES, Grants, may_touch
from tests.valkey.catalog import Catalog
from tests.valkey.errors import SearchError
from tests.valkey.filters import matching
from tests.valkey.index import Index, normalized
from tests.valkey.info import info_of, section_of
from tests.valkey.query import Knn, Search, parse_search
from tests.valkey.resp import Failure, Reply, Simple
from tests.valkey.schema import Vector, parse_create
from tests.valkey.switches import Switches

_LARGEST_RECORD = 5 << 20
_NOT_YOURS = "The user does not have permission to access the key prefix"
_WRITES = {b"FT.CREATE", b"FT.DROPINDEX"}
_NEEDS_MEMORY = {b"FT.CREATE", b"FT.SEARCH"}
_NEVER_REFUSED = {b"HELLO", b"AUTH", b"CLIENT", b"SELECT"}

Hit = tuple[bytes, bytes | None]  # a key and the text of its distance


class SearchModule:
    """Answers commands over a catalog of indexes, as one version of the module would."""

    def __init__(self, version: str, switches: Switches) -> None:
        self.is_old = version.startswith("1.0.")
        self.switches = switches
        self.grants = Grants()
        self.catalog = Catalog(switches)

    def answers(self, words: list[bytes]) -> bool:
        """Whether a command is one of the module, not of the real server."""
        name = words[0].upper()
        if self.switches.refusal and name not in _NEVER_REFUSED:
            return True
        is_info = name == b"INFO" and [word.lower() for word in words[1:]] == [b"search"]
        return self.switches.loaded and (name in NAMES or is_info)

    async def run(self, words: list[bytes], client: int) -> Reply:
        """Answer the command of a client, known by its id."""
        if self.switches.refusal:
            return Failure(self.switches.refusal.encode())
        name, arguments = words[0].upper(), words[1:]
        database, user, refusal = await self._look_at(client)
        if not self.grants.allows(user.encode(), name):
            run = f"run the '{name.decode()}' command"
            return Failure(f"NOPERM User {user} has no permissions to {run}".encode())
        if refusal.startswith((b"READONLY", b"MISCONF")) and name not in _WRITES:
            refusal = b""
        if refusal.startswith(b"OOM") and name not in _NEEDS_MEMORY:
            refusal = b""
        if refusal:
            return Failure(refusal)
        await self.catalog.settle()
        try:
            return await self._answer(name, arguments, database, await self._patterns(user))
        except SearchError as error:
            return Failure(str(error).encode())

    async def _look_at(self, client: int) -> tuple[int, str, bytes]:
        """Ask the server for a client's database and user, and whether it has free memory."""
        line, probe = await self.catalog.admin.call(
            # A write that changes nothing is refused if, and only if, a search would be.
            ("CLIENT", "LIST", "ID", client),
            ("SETRANGE", "stand-in", 0, ""),
        )
        fields = dict(pair.partition("=")[::2] for pair in line.decode().split())
        refusal = probe.text if isinstance(probe, Failure) else b""
        return int(fields.get("db", 0)), fields.get("user", "default"), refusal

    async def _patterns(self, user: str) -> list[bytes]:
        """List the patterns of keys that a user may touch; one that may only read is `%R~…`."""
        if user == "default":
            return [b"~*"]
        (reply,) = await self.catalog.admin.call(("ACL", "GETUSER", user))
        keys: bytes = reply[b"keys"]
        return keys.split()

    async def _answer(
        self, name: bytes, arguments: list[bytes], database: int, patterns: list[bytes]
    ) -> Reply:
        match name:
            case b"INFO":
                return section_of(list(self.catalog.indexes.values()))
            case b"FT.CREATE":
                return await self._create(arguments, database, patterns)
            case b"FT.SEARCH":
                search = parse_search(arguments, is_old=self.is_old)
                index = self._index(database, search.index, patterns)
                return await self._search(database, index, search)
        if name == b"FT.INFO" and len(arguments) > 1:
            if arguments[1:] != [b"LOCAL"]:
                raise SearchError(f"Unexpected argument `{arguments[1].decode()}`")
            arguments = arguments[:1]
        if len(arguments) != (name != b"FT._LIST"):
            raise SearchError(f"ERR wrong number of arguments for '{name.decode()}' command")
        match name:
            case b"FT.DROPINDEX":
                index = self._index(database, arguments[0], patterns, is_write=True)
                await self.catalog.drop(database, index.definition.name)
                return Simple(b"OK")
            case b"FT.INFO":
                return info_of(self._index(database, arguments[0], patterns), is_old=self.is_old)
        return [Simple(index) for other, index in self.catalog.indexes if other == database]

    def _index(
        self, database: int, name: bytes, patterns: list[bytes], *, is_write: bool = False
    ) -> Index:
        if (index := self.catalog.indexes.get((database, name))) is None:
            where = "" if self.is_old else f" in database {database}"
            raise SearchError(f"Index with name '{name.decode()}' not found{where}")
        if not may_touch(patterns, index.definition.prefixes, is_write=is_write):
            raise SearchError(_NOT_YOURS)
        return index

    async def _create(self, arguments: list[bytes], database: int, patterns: list[bytes]) -> Reply:
        definition = parse_create(arguments, is_old=self.is_old)
        if not may_touch(patterns, definition.prefixes, is_write=False):
            raise SearchError(_NOT_YOURS)
        try:
            await self.catalog.create(database, definition)
        except SearchError as error:
            where = "" if self.is_old else f" in database {database}"
            raise SearchError(f"Index {definition.name.decode()}{where} {error}") from None
        return Simple(b"OK")

    async def _search(self, database: int, index: Index, search: Search) -> Reply:
        _check(index, search)
        may_be_shared = await self._take_time(search)
        most = index.vectors if search.knn is None or not may_be_shared else search.knn.most
        hits = self._hits(index, search, most)
        if not may_be_shared:
            if self.is_old:
                return Simple(b"Request timed out")
            if b"ALLSHARDS" in search.options:
                raise SearchError("Search operation cancelled due to timeout")
            hits = hits[-(-len(hits) // 2) :]  # a timeout: the nearest were not reached
        if search.knn is not None:
            hits = hits[: search.knn.most]
        if search.sort_by is not None:
            hits = _sorted(index, hits, search.sort_by, descending=search.descending)
        page = slice(search.offset, search.offset + search.limit)
        if search.no_content:
            return [len(hits), *(key for key, _ in hits[page])]
        rows = await self._rows(database, index, search, hits)
        return [len(rows), *(item for row in rows[page] for item in row)]

    async def _take_time(self, search: Search) -> bool:
        """Wait as long as a search takes, at most its timeout; return whether it finished."""
        seconds = self.switches.search_seconds
        if seconds:
            await asyncio.sleep(min(seconds, search.timeout))
        return seconds <= search.timeout

    def _hits(self, index: Index, search: Search, most: int) -> list[Hit]:
        among = matching(index, search.filter)
        if search.knn is None:
            return [(key, None) for key in (index.documents if among is None else sorted(among))]
        query = np.frombuffer(search.knn.blob, "<f4")
        # Old versions compare vectors as they come where a filter picked them.
        query = query if self.is_old and among is not None else normalized(query)
        with np.errstate(invalid="ignore"):
            found = index.nearest(query, most, among)
        return [(key, b"%.12g" % distance) for key, distance in found]

    async def _rows(
        self, database: int, index: Index, search: Search, hits: list[Hit]
    ) -> list[list[Reply]]:
        """Read the hashes that were found, except those that have expired or are too large."""
        now = time.time_ns() // 1_000_000
        alive = [hit for hit in hits if not 0 <= index.documents[hit[0]].expires_at <= now]
        hashes = await self.catalog.admin.call_in(database, *(("HGETALL", k) for k, _ in alive))
        rows: list[list[Reply]] = []
        for (key, distance), found in zip(alive, hashes, strict=True):
            if found == {}:
                continue
            fields = _fields(search, distance, {} if isinstance(found, Failure) else found)
            if sum(map(len, fields)) <= _LARGEST_RECORD:
                rows.append([key, fields])
        return rows


def _fields(search: Search, distance: bytes | None, found: dict[bytes, bytes]) -> list[bytes]:
    alias = search.knn.alias if search.knn is not None else b""
    own = [] if distance is None else [alias, distance]
    if search.returned is None:
        return [*own, *(item for pair in found.items() for item in pair)]
    fields: list[bytes] = []
    for name, shown in search.returned:
        if own and name == alias:
            fields += own
        elif name in found:
            fields += [shown, found[name]]
    return fields


def _check(index: Index, search: Search) -> None:
    if search.sort_by is not None and search.sort_by not in index.definition.fields:
        raise SearchError(f"Index field `{search.sort_by.decode()}` does not exist")
    if search.knn is not None:
        _check_vector(index, search.knn)
    if search.unused:
        name = search.unused[0].decode(errors="replace")
        raise SearchError(f"Parameter `{name}` not used.")


def _check_vector(index: Index, knn: Knn) -> None:
    shown = knn.attribute.decode()
    if (field := index.definition.fields.get(knn.attribute)) is None:
        raise SearchError(f"Index field `{shown}` does not exist")
    if not isinstance(field.kind, Vector):
        raise SearchError(f"Index field `{shown}` is not a Vector index ")
    if len(knn.blob) != field.kind.size:
        raise SearchError(
            f"Error parsing vector similarity parameters: query vector blob size"
            f" ({len(knn.blob)}) does not match index's expected size ({field.kind.size})."
        )


def _sorted(index: Index, hits: list[Hit], attribute: bytes, *, descending: bool) -> list[Hit]:
    numbers = {key: index.documents[key].numbers.get(attribute, 0.0) for key, _ in hits}
    return sorted(hits, key=lambda hit: numbers[hit[0]], reverse=descending)
