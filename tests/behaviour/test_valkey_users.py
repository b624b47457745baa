"""Proxies that log in to a Valkey as a user with few rights and a changing password."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from valkey.asyncio import Valkey

from tests.behaviour.test_valkey import TOKEN, Load, ask, client_of, degraded, setup_on, until
from tests.servers import Setup
from tests.stores.valkey_fleet import as_in_readme
from tests.valkey.server import StandIn, stand_in


@pytest.fixture
async def valkey() -> AsyncIterator[StandIn]:
    async with stand_in() as server:
        yield server


def setup_as(url: str, valkey: StandIn) -> Setup:
    setup = setup_on(valkey)
    setup.settings = setup.settings.model_copy(update={"store": url})
    return setup


async def test_a_proxy_needs_no_other_rights_than_readme_says(valkey: StandIn) -> None:
    setup = setup_as(await as_in_readme(valkey), valkey)
    async with client_of(setup) as client:
        admin = {"Authorization": f"Bearer {TOKEN}"}
        cache = client.base_url.copy_with(path="/cache/")
        for _ in range(2):
            assert await ask(client, "valkey what") == "MISS"

            async def is_a_hit() -> bool:
                return await ask(client, "valkey what is it") == "HIT"

            await until(is_a_hit)
            assert (await client.get(f"{cache}stats", headers=admin)).status_code == 200
            entries = await client.get(f"{cache}entries", headers=admin)
            assert entries.json()["entries"]
            told = await client.post(f"{cache}purge", json={"all": True}, headers=admin)
            assert told.json()["purged"] > 0
        assert await degraded(client) == []
    assert await valkey.denied("reprise") == []


async def rotate(valkey: Any, password: str) -> None:
    """Change the password, and disconnect all clients that logged in with the old one."""
    await valkey.execute_command("ACL", "SETUSER", "reprise", "resetpass", f">{password}")
    await valkey.execute_command("CLIENT", "KILL", "USER", "reprise")


async def test_a_password_that_changes_costs_no_client_anything(
    valkey: StandIn, tmp_path: Path
) -> None:
    url = await as_in_readme(valkey)
    file = tmp_path / "password"
    file.write_text("secret\n")
    named = f"{url.replace(':secret@', '@')}?password_file={file}"
    async with (
        client_of(setup_as(named, valkey)) as client,
        Load(client).running() as load,
        Valkey.from_url(valkey.url) as by_hand,
    ):
        await load.gets("HIT")
        # The file first or the server first, at once or a while later.
        for password, is_late in (("one", False), ("two", True)):
            if is_late:
                await rotate(by_hand, password)
                await load.gets("MISS")
            file.write_text(password)
            begin = time.perf_counter()
            if not is_late:
                await rotate(by_hand, password)
            load.forget()
            await load.gets("HIT")
            assert time.perf_counter() - begin < 10
