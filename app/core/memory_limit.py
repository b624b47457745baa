"""The memory that this process may use: the machine's memory, or less in a container."""

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_V2 = "0::"  # prefix of the line for cgroup v2


def memory_limit(cgroups: Path = _CGROUPS, own: Path = _OWN) -> int:
    """Return the bytes of memory that this process and others in its cgroup may use together.

    The result is the lowest of these values: the memory of the machine, and the `memory.max` of
    this process's cgroup and of each parent cgroup
    (https://docs.kernel.org/admin-guide/cgroup-v2.html). `cgroups` is the folder of all cgroups.
    `own` is the file that names the cgroup of this process.
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
    # In a container the path may be the host's; then only the root of the tree is visible.
    for folder in (group, *group.parents, cgroups):
        if folder.is_relative_to(cgroups):
            try:
                yield int((folder / "memory.max").read_text())
            except (OSError, ValueError):  # no such file, or its content is `max`
                continue
