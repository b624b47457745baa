"""How much memory this process may have: the machine's, or less where a container says so."""

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_V2 = "0::"  # what the line of the unified hierarchy begins with


def memory_limit(cgroups: Path = _CGROUPS, own: Path = _OWN) -> int:
    """Return the bytes that this process and its siblings may have.

    That is the machine's memory, or the least `memory.max` of our cgroup and those above it
    (https://docs.kernel.org/admin-guide/cgroup-v2.html).
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(cgroups, own)])


def _limits(cgroups: Path, own: Path) -> Iterator[int]:
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return
    path = next((line.removeprefix(_V2) for line in lines if line.startswith(_V2)), "/")
    group = cgroups / path.lstrip("/")
    # In a container the path may be the host's, of which only the root is to be seen.
    for folder in (group, *group.parents, cgroups):
        if folder.is_relative_to(cgroups):
            try:
                yield int((folder / "memory.max").read_text())
            except (OSError, ValueError):  # there is none, or it is `max`
                continue
