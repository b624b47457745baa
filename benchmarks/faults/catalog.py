"""The faults: how each fault is caused, and how it is undone."""

import os
import resource
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from valkey.asyncio import Valkey

from benchmarks.faults.valve import Flow, Valve
from benchmarks.faults.world import World

_SCRAP = b"\xa5" * 4096  # a page of a SQLite file
_FEW_FILES, _LITTLE_MEMORY = 4, 16 << 20  # more than are in use
_PAGES = resource.getpagesize()

Act = Callable[[World], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """How to cause and undo a fault.

    `on_disk`: whether the store is a file. `is_upstreams`: whether the upstream gives no answers,
    so that only stored answers can be expected.
    """

    act: Act
    undo: Act
    on_disk: bool = False
    is_upstreams: bool = False


async def _nothing(_: World) -> None:
    """Do nothing: the fault cannot be undone, or need not be."""


def _flows(part: str) -> Mapping[str, Fault]:
    def turned(flow: Flow) -> Act:
        async def turn(world: World) -> None:
            valve: Valve = getattr(world, part)
            await valve.turn(flow)

        return turn

    kinds = {"killed": Flow.KILLED, "hung": Flow.HUNG, "slow": Flow.SLOW, "corrupt": Flow.CORRUPT}
    return {
        f"{part} {name}": Fault(
            turned(flow), turned(Flow.OPEN), is_upstreams=part == "upstream" and name != "slow"
        )
        for name, flow in kinds.items()
        if (part, name) != ("upstream", "corrupt")  # clients get what it sends
    }


async def _fill_valkey(world: World) -> None:
    """Limit a Valkey's memory to the memory that it uses now.

    A lower limit would not be realistic.
    """
    async with _client_of(world) as client:
        used = (await client.info("memory"))["used_memory"]
        await client.config_set("maxmemory", used)


async def _free_valkey(world: World) -> None:
    async with _client_of(world) as client:
        await client.config_set("maxmemory", 0)


def _client_of(world: World) -> Valkey:
    assert world.valkey is not None
    client: Valkey = Valkey.from_url(world.valkey.url)
    return client


async def _limit(number: int, most: Callable[[World], int], world: World) -> None:
    """Lower a resource limit of the proxy's process.

    `number` is the limit's number in the module `resource`. `most` returns the new limit.
    """
    _, hard = resource.prlimit(world.pid, number)
    resource.prlimit(world.pid, number, (most(world), hard))


async def _unlimit(number: int, world: World) -> None:
    _, hard = resource.prlimit(world.pid, number)
    resource.prlimit(world.pid, number, (hard, hard))


def _limited(number: int, most: Callable[[World], int]) -> Fault:
    return Fault(partial(_limit, number, most), partial(_unlimit, number), on_disk=True)


def _file_size(world: World) -> int:
    """Return a limit for the size of files: half the size of the store's file."""
    assert world.file is not None
    return world.file.stat().st_size // 2


def _files(world: World) -> int:
    return len(os.listdir(f"/proc/{world.pid}/fd")) + _FEW_FILES  # noqa: PTH208 - names of /proc


def _memory(world: World) -> int:
    pages = int(Path(f"/proc/{world.pid}/statm").read_text("ascii").split()[0])
    return pages * _PAGES + _LITTLE_MEMORY


async def _damage(world: World) -> None:
    """Overwrite the middle of the store's file."""
    assert world.file is not None
    with world.file.open("r+b") as file:
        file.seek(world.file.stat().st_size // 2)
        file.write(_SCRAP)


async def _remove(world: World) -> None:
    assert world.file is not None
    world.file.unlink()


async def _set_clock(number: signal.Signals, world: World) -> None:
    os.kill(world.pid, number)


_BACK, _FORWARD = (partial(_set_clock, s) for s in (signal.SIGUSR1, signal.SIGUSR2))

FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        **_flows("store"),
        "store full": Fault(_fill_valkey, _free_valkey),
        **_flows("embedder"),
        **_flows("verifier"),
        **_flows("upstream"),
        "disk full": _limited(resource.RLIMIT_FSIZE, _file_size),
        "file damaged": Fault(_damage, _nothing, on_disk=True),
        "file removed": Fault(_remove, _nothing, on_disk=True),
        "file descriptors used up": _limited(resource.RLIMIT_NOFILE, _files),
        "memory used up": _limited(resource.RLIMIT_AS, _memory),
        "clock set back an hour": Fault(_BACK, _FORWARD, on_disk=True),
        "clock set forward an hour": Fault(_FORWARD, _BACK, on_disk=True),
    }
)
"""All faults, by name."""
