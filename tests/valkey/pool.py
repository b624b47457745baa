"""Servers with default settings, each lent to one test after another.

A server is emptied before the next test. It is not lent again if a test changed its settings or
killed it.
"""

import atexit
import signal
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import valkey

from tests.valkey.process import ADMIN, Process

_WIPE = (
    "REPLICAOF NO ONE",
    "DEBUG SET-ACTIVE-EXPIRE 1",
    "CLIENT KILL TYPE normal SKIPME yes",  # first, so that unread replies are discarded
    "FLUSHALL SYNC",
    "SCRIPT FLUSH SYNC",
    "FUNCTION FLUSH SYNC",
    "ACL LOG RESET",
    "SLOWLOG RESET",
    "CONFIG RESETSTAT",
    "ACL SETUSER default reset on nopass ~* &* +@all",
)


class Pool:
    """The servers of a process of tests; each has a folder of its own."""

    def __init__(self) -> None:
        self._settings: dict[Process, dict[str, str]] = {}
        self._idle: list[Process] = []
        self._folder = tempfile.TemporaryDirectory(prefix="valkey-")

    async def take(self) -> Process:
        """Return an empty server that runs."""
        while self._idle:
            process = self._idle.pop()
            if _wiped(process) == self._settings[process]:
                return process
            await process.end(signal.SIGKILL)
        process = Process(Path(self._folder.name) / str(len(self._settings)), {})
        process.folder.mkdir()
        await process.start()
        self._settings[process] = _wiped(process)
        return process

    def give_back(self, process: Process) -> None:
        """Keep a server for the next test, if it still runs."""
        if process.is_running:
            process.resume()
            self._idle.append(process)

    def close(self) -> None:
        """End all servers."""
        for process in self._settings:
            if process.is_running:
                process.kill()
        self._folder.cleanup()


def _wiped(process: Process) -> dict[str, str]:
    """Wipe what a server holds, and return its settings."""
    with valkey.Valkey(
        unix_socket_path=str(process.socket),
        username=ADMIN,
        password="-",  # noqa: S106 - any will do
        decode_responses=True,
    ) as client:
        for line in _WIPE:
            client.execute_command(*line.split())
        users: Any = client.acl_users()
        client.acl_deluser("", *(user for user in users if user not in {ADMIN, "default"}))
        settings: Any = client.config_get()
        return dict(settings)


@cache
def pool() -> Pool:
    """Return the pool of this process."""
    made = Pool()
    atexit.register(made.close)
    return made
