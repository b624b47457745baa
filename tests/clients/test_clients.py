"""Real clients get the same results through the proxy as without it, and also get hits."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.clients.catalog import CLIENTS, Client
from tests.clients.environments import FOLDER
from tests.clients.lab import Row, examine


@pytest.mark.clients
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
async def test_a_client_finds_no_difference(
    client: Client, rows: list[Row], tmp_path: Path
) -> None:
    row = await examine(client, tmp_path)
    rows.append(row)
    # How each cell came about: what the client told, and what it asked the upstream.
    (FOLDER / f"{client.name}.json").write_text(json.dumps(asdict(row), indent=1))
    assert not row.faults
