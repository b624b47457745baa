"""The rights in docs/valkey.md are not more than needed. Tests on a stand-in show they suffice."""

import re
from pathlib import Path

import pytest

from tests.stores.valkey_fleet import CLUSTER_RIGHTS, EAST, RIGHTS, entry, fleet_on, names

VALKEY = Path(__file__).parent.parent.parent / "app" / "stores" / "valkey"
SOURCES = "".join(path.read_text() for path in VALKEY.rglob("*.py"))
COMMANDS = re.findall(r"\+(\S+)", RIGHTS)
OF_THE_LIBRARY = {"select"}  # valkey-py's own


def test_rights_name_commands_and_keys_of_ours_and_nothing_wider() -> None:
    others = [right for right in RIGHTS.split()[4:] if not right.startswith("+")]
    assert others == ["resetchannels", "~cache:*", "~embedding:*"]
    assert not [right for right in (RIGHTS + CLUSTER_RIGHTS).split() if "@" in right]


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - OF_THE_LIBRARY))
def test_a_right_is_for_a_command_that_is_sent(command: str) -> None:
    words = [rf"[\"']{re.escape(word.upper())}[\"']" for word in command.split("|")]
    assert re.search(", ".join(words), SOURCES)


async def test_another_database_needs_no_other_rights() -> None:
    async with fleet_on() as fleet:
        fleet.may_be_harmed()
        store = await fleet.store(url=fleet.url.removesuffix("/0") + "/3")
        await store.put(stored := entry("a"), EAST)
        assert (await store.get("a"), await names(store)) == (stored, ["a"])


async def test_the_server_knows_the_commands_of_a_cluster() -> None:
    async with fleet_on() as fleet:
        await fleet.server.add_user(*CLUSTER_RIGHTS.split())
