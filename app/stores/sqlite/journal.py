"""The journal: an SQLite file with one row for each entry of a store.

Rules of this file: a commit survives the end of the process, even by kill -9
(https://sqlite.org/wal.html). A crash of the machine may undo the last commits, but does not damage
the file. Only one process may have the file open: SQLite's lock enforces this, and the system
releases the lock when the process ends. A file that is damaged, or was written by a newer version,
is renamed and kept. A file of another program is not touched.

All functions block the calling thread. A journal must be used by one thread at a time.
"""

import logging
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, Self

from app.core.errors import ConfigurationError
from app.core.models import Clock, Kind

_APPLICATION = 0x52455052  # SQLite's application_id that marks the file as ours: "REPR"
_FORMAT = 1
_PAGE = 8192  # bytes; three entries of the local model fit
_BESIDE = ("-wal", "-shm", "-journal")
_DAMAGED = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

_ENTRIES = """
CREATE TABLE entries (
    kind TEXT NOT NULL CHECK (kind IN ('chat_completion', 'embedding')),
    digest TEXT NOT NULL,
    expires REAL NOT NULL,
    epoch TEXT NOT NULL,
    fields BLOB NOT NULL,
    vector BLOB,
    embedder TEXT,
    PRIMARY KEY (kind, digest)
)
"""
# Older versions of Reprise, which have no sums, ignore this table.
_TOTALS = "CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL)"
_ADD = "INSERT INTO totals VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = value + ?2"
_META = "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
_SELECT = "SELECT kind, digest, expires, epoch, fields, vector, embedder FROM entries"
# An answer requested before a purge must not be stored after it.
_PUT = (
    "INSERT OR REPLACE INTO entries SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7"
    " WHERE ?4 = (SELECT value FROM meta WHERE name = 'epoch')"
)
_AMEND = "UPDATE entries SET fields = ? WHERE kind = ? AND digest = ? AND expires = ?"
_REMOVE = "DELETE FROM entries WHERE kind = ? AND digest = ?"
_PURGE = "DELETE FROM entries"
_SET_EPOCH = "INSERT OR REPLACE INTO meta VALUES ('epoch', ?)"
_GET_EPOCH = "SELECT value FROM meta WHERE name = 'epoch'"

_logger = logging.getLogger("reprise.store")


class Row(NamedTuple):
    """An entry as a row of the file; `expires` is in seconds since 1970.

    `vector` is None if only exact matches find the entry. `embedder` is the name of the model that
    made `vector`.
    """

    kind: Kind
    digest: str
    expires: float
    epoch: str
    fields: bytes
    vector: bytes | None = None
    embedder: str | None = None


@dataclass(frozen=True, slots=True)
class Append:
    """A change that writes rows, replacing older ones. Rows of a past epoch are skipped."""

    rows: Iterable[Row]


@dataclass(frozen=True, slots=True)
class Remove:
    """A change that removes the rows with these kinds and exact keys."""

    keys: Iterable[tuple[Kind, str]]


@dataclass(frozen=True, slots=True)
class Amend:
    """A change that replaces the fields of a row in the file by the fields of `row`.

    Nothing is replaced if `expires` differs between `row` and the file.
    """

    row: Row


@dataclass(frozen=True, slots=True)
class Turn:
    """A change that begins a new epoch. Answers requested before this change are not written."""

    epoch: str


@dataclass(frozen=True, slots=True)
class Purge:
    """A change that removes all rows and begins a new epoch."""

    epoch: str


@dataclass(frozen=True, slots=True)
class Add:
    """A change that adds each amount to the sum of the same name."""

    amounts: Mapping[str, int]


Change = Append | Amend | Remove | Turn | Purge | Add


class _Unusable(Exception):
    """The file is damaged, or was written by a newer version."""

    def __init__(self, reason: Literal["corrupt", "newer"]) -> None:
        super().__init__(reason)
        self.reason = reason


class Journal:
    """An open journal file. If a method cannot read or write the file, it raises sqlite3.Error."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = connection
        (self.epoch,) = connection.execute(_GET_EPOCH).fetchone()

    @classmethod
    def open(cls, path: Path, clock: Clock) -> Self:
        """Open the file at `path`, or create it.

        An unusable file is renamed; its new name contains the time that `clock` returns. Raises
        ConfigurationError if the file can be neither opened nor created.
        """
        try:
            try:
                return cls(path, _connect(path))
            except _Unusable as unusable:
                _set_aside(path, unusable.reason, clock())
                return cls(path, _connect(path))
        except _Unusable as unusable:
            raise _refusal(path, f"it is {unusable.reason}") from None
        except OSError as error:
            raise _refusal(path, f"cannot be opened: {error.strerror}") from None
        except sqlite3.Error as error:
            busy = _primary_code(error) in _BUSY
            why = "another process has it open" if busy else f"cannot be opened: {error}"
            raise _refusal(path, why) from None

    def rows(self) -> Iterator[Row]:
        """Yield all rows, in the order in which they were written."""
        for kind, *rest in self._opened().execute(f"{_SELECT} ORDER BY rowid"):
            yield Row(Kind(kind), *rest)

    def totals(self) -> dict[str, int]:
        """Return all sums by name. A sum that is not a whole number in the file is left out."""
        rows = self._opened().execute("SELECT name, value FROM totals")
        return {name: value for name, value in rows if isinstance(value, int)}

    def write(self, changes: Iterable[Change]) -> None:
        """Make changes in order, in one transaction. If one of them fails, none is made."""
        epoch = self.epoch
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            for change in changes:
                _make(connection, change)
                if isinstance(change, Turn | Purge):
                    epoch = change.epoch
        self.epoch = epoch

    def remove(self, change: Remove | Turn | Purge) -> None:
        """Make a change even if the disk is full, so that no restart brings removed entries back.

        The change itself needs disk space. If the disk has none left, the whole file is deleted,
        so that a restart finds nothing. A new file is created once there is space again.
        """
        try:
            self.write([change])
        except sqlite3.Error as error:
            if _primary_code(error) not in _NO_ROOM:
                raise
            self.close()
            for path in (self._path, *map(self._beside, _BESIDE)):
                path.unlink(missing_ok=True)
            if isinstance(change, Turn | Purge):
                self.epoch = change.epoch
            _logger.error(
                "%s was deleted, because the disk is full and its entries could not be removed; "
                "entries in memory are still served, but a restart loses them",
                self._path,
            )

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = _connect(self._path)
            try:
                connection.execute(_SET_EPOCH, (self.epoch,))
            except sqlite3.Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def close(self) -> None:
        """Close the file, so that another process can open it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _make(connection: sqlite3.Connection, change: Change) -> None:
    match change:
        case Append(rows):
            connection.executemany(_PUT, rows)
        case Amend(row):
            connection.execute(_AMEND, (row.fields, row.kind, row.digest, row.expires))
        case Add(amounts):
            connection.executemany(_ADD, amounts.items())
        case Turn(epoch):
            connection.execute(_SET_EPOCH, (epoch,))
        case Remove(keys):
            connection.executemany(_REMOVE, keys)
        case Purge(epoch):
            connection.execute(_PURGE)
            connection.execute(_SET_EPOCH, (epoch,))


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)  # it holds prompts and answers
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, path)
    except sqlite3.Error as error:
        connection.close()
        if _primary_code(error) in _DAMAGED:
            raise _Unusable("corrupt") from error
        raise
    except UnicodeDecodeError as error:  # SQLite's message quotes a damaged schema
        connection.close()
        raise _Unusable("corrupt") from error
    except Exception:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.text_factory = lambda raw: raw.decode(errors="replace")
    connection.execute(f"PRAGMA page_size = {_PAGE}")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA synchronous = NORMAL")
    with connection:
        connection.execute("BEGIN EXCLUSIVE")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (application, version, tables) == (0, 0, 0):
            connection.execute(_ENTRIES)
            connection.execute(_META)
            connection.execute(_SET_EPOCH, (secrets.token_hex(8),))
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_FORMAT}")
        elif application != _APPLICATION:
            raise _refusal(path, "it is another program's database")
        elif version != _FORMAT:
            raise _Unusable("newer" if version > _FORMAT else "corrupt")
        connection.execute(_TOTALS)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"{_SELECT} LIMIT 0")
    if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise _Unusable("corrupt")
    if connection.execute(_GET_EPOCH).fetchone() is None:
        raise _Unusable("corrupt")


def _set_aside(path: Path, reason: str, now: float) -> None:
    name = f"{path.name}.{reason}-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
    path.rename(path.with_name(name))
    for suffix in _BESIDE:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(path.with_name(name + suffix))
    what = "was written by a newer version" if reason == "newer" else "is damaged"
    _logger.error("%s %s; it was renamed to %s, and the store starts empty", path, what, name)


def _primary_code(error: sqlite3.Error) -> int:
    # Errors raised by the Python module itself have no code.
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_INTERNAL)
    return code & 0xFF


def _refusal(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(f"REPRISE_STORE=sqlite:///{path}: {why}")
