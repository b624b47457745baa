import os
from pathlib import Path

import pytest

from app.core.memory_limit import memory_limit

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("line", "limits", "expected"),
    [
        ("0::/", {"": "50000000\n"}, 50_000_000),
        ("0::/", {"": "max\n"}, MACHINE),
        ("0::/", {}, MACHINE),
        ("0::/pod/box", {"pod": "9000\n", "pod/box": "max\n"}, 9000),
        ("0::/pod/box", {"pod": "9000\n", "pod/box": "8000\n"}, 8000),
        ("0::/of/the/host", {"": "7000\n"}, 7000),
        ("0::/../outside", {"": "7000\n"}, 7000),
        ("4:memory:/old\n0::/new", {"new": "6000\n", "old": "5\n"}, 6000),
        ("4:memory:/old", {"old": "5\n"}, MACHINE),
        ("", {"": f"{MACHINE * 2}\n"}, MACHINE),
    ],
)
def test_the_least_limit_of_the_own_group_and_those_above_it_counts(
    tmp_path: Path, line: str, limits: dict[str, str], expected: int
) -> None:
    own, cgroups = tmp_path / "own", tmp_path / "cgroup"
    own.write_text(f"{line}\n")
    for group, limit in limits.items():
        (cgroups / group).mkdir(parents=True, exist_ok=True)
        (cgroups / group / "memory.max").write_text(limit)
    assert memory_limit(cgroups, own) == expected


def test_where_there_are_no_groups_it_is_the_machines_memory(tmp_path: Path) -> None:
    assert memory_limit(tmp_path, tmp_path / "none") == MACHINE
