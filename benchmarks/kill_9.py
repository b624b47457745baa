"""Kill a process that writes to a store, many times. No acknowledged entry may be lost.

    python -m benchmarks.kill_9 [rounds]

Each round starts a process that writes to a `sqlite:///` store as fast as it can. The process
prints a line after each write. The round kills the process (SIGKILL) at a random moment. Then it
opens the file and compares the entries with the printed lines.
"""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np

from app.core.models import CacheKey, Embedding, EmbeddingModel, StoredEmbedding, StoredResponse
from app.stores.sqlite.store import SqliteStore

_MODEL = EmbeddingModel("test", 8)
_BORN = 1_700_000_000.0
_LIFETIME = 1e9
_WRITERS = 8
_LONGEST = 0.7  # longest time in seconds before a process is killed


def open_store(path: Path) -> SqliteStore:
    """Return an open store for the file `path`."""

    def ignore(_kind: str, _reason: str) -> None:
        raise AssertionError("nothing is to be evicted")

    return SqliteStore(path, _MODEL, 1_000_000, time.time, ignore)


def response(name: str) -> StoredResponse:
    """Return the response that a writer stores under a name."""
    partition = name.rpartition("-")[0]
    completion = f'{{"choices": [], "name": "{name}"}}'.encode() * 20
    return StoredResponse(
        CacheKey(partition, name, f"What is {name}?"), "m", completion, _BORN, _LIFETIME
    )


def vector(name: str) -> Embedding:
    """Return the embedding of a response's text."""
    direction = np.random.default_rng(list(name.encode())).standard_normal(_MODEL.dimensions)
    return np.asarray(direction / np.linalg.norm(direction), dtype=np.float32)


def embedding(name: str) -> StoredEmbedding:
    """Return the embedding that a writer stores under a name."""
    return StoredEmbedding(name, "m", vector(name).tobytes(), 4, _BORN, _LIFETIME)


async def write(path: Path, prefix: str, *, purge: bool) -> None:
    """Write to the store until killed. With `purge`, purge the store first.

    Print a line before each deletion and purge, and a line after each operation.
    """
    store = open_store(path)
    _say("ready", prefix)
    if purge:
        _say("purging", prefix)
        await store.purge()
        _say("purged", prefix)
    await asyncio.gather(*(_write(store, f"{prefix}.{number}") for number in range(_WRITERS)))


async def _write(store: SqliteStore, prefix: str) -> None:
    for number in count():
        name = f"{prefix}-{number}"
        await store.put(response(name), vector(name))
        _say("put", name)
        await store.put_embeddings([embedding(name)])
        _say("embedded", name)
        if number % 3 == 2:  # noqa: PLR2004 - as good as any
            name = f"{prefix}-{number - 1}"
            _say("deleting", name)
            await store.delete(name)
            _say("deleted", name)


def _say(what: str, name: str) -> None:
    os.write(1, f"{what} {name}\n".encode())  # unbuffered, in one write


@dataclass
class Acknowledged:
    """The names that the writers acknowledged in all rounds.

    `purging`: the names that a purge may have removed.
    """

    put: set[str] = field(default_factory=set)
    embedded: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    purging: set[str] = field(default_factory=set)
    purged: set[str] = field(default_factory=set)

    def note(self, line: str) -> None:
        """Record a line that a writer printed."""
        match line.split():
            case ["put", name]:
                self.put.add(name)
            case ["embedded", name]:
                self.embedded.add(name)
            case ["deleting", name]:
                self.put.discard(name)
            case ["deleted", name]:
                self.deleted.add(name)
            case ["purging", _]:
                self.purging |= self.put | self.embedded
                self.put, self.embedded = set(), set()
            case ["purged", _]:
                self.purged |= self.purging


def run_round(path: Path, number: int, seconds: float, told: Acknowledged) -> int:
    """Let a process write, and kill it after `seconds`. Return the number of lines it printed.

    In every third round, the time is counted from the start of the process, so the process may be
    killed before it writes. In the other rounds, the time is counted from its first line. In every
    fifth round, the process purges the store first.
    """
    lines = 0
    purge = ["purge"] if number % 5 == 4 else []  # noqa: PLR2004 - as good as any
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.kill_9", "write", str(path), f"r{number}", *purge],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        timer = threading.Timer(seconds, process.kill)
        if number % 3:
            assert process.stdout.readline(), "the start was refused"
        timer.start()
        for line in process.stdout:
            told.note(line)
            lines += 1
        timer.cancel()
    assert process.returncode == -signal.SIGKILL, "the start was refused"
    return lines


async def losses(path: Path, told: Acknowledged) -> list[str]:
    """Open the store. Return a line for each entry that differs from what was acknowledged."""
    store = open_store(path)
    lost = []
    for name in told.put:
        if await store.get(name) != response(name):
            lost.append(f"{name} is lost")
        near = await store.nearest(response(name).key.partition, vector(name), 1, 0.001)
        if [candidate.stored.id for candidate in near] != [name]:
            lost.append(f"{name} is not found by meaning")
    lost += [f"{name} is back" for name in told.deleted | told.purged if await store.get(name)]
    for name, kept in (
        *((name, embedding(name)) for name in told.embedded),
        *((name, None) for name in told.purged),
    ):
        if await store.get_embeddings([name]) != [kept]:
            lost.append(f"the embedding {name} is {'lost' if kept else 'back'}")
    await store.aclose()
    return lost


def main() -> None:
    """Run the rounds and print the results."""
    if sys.argv[1:2] == ["write"]:
        asyncio.run(write(Path(sys.argv[2]), sys.argv[3], purge="purge" in sys.argv[4:]))
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    told, random, ends = Acknowledged(), secrets.SystemRandom(), Counter[str]()
    written = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache.db"
        for number in range(rounds):
            lines = run_round(path, number, random.uniform(0, _LONGEST), told)
            ends["writing" if lines else "starting"] += 1
            written += lines
            if lost := asyncio.run(losses(path, told)):
                raise SystemExit(f"round {number}: " + "; ".join(lost[:10]))
    print(f"{rounds} rounds, killed while {dict(ends)}; {written} acknowledgements, none lost")


if __name__ == "__main__":
    main()
