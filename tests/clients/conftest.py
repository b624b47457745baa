"""Prints the table of the lab once its clients have run."""

import json

import pytest

from tests.clients.environments import FOLDER
from tests.clients.lab import Row, table

ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> list[Row]:
    """Give the list of the rows that this run has filled."""
    return request.config.stash.setdefault(ROWS, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table, and keep what it was made from in `.clients/results.json`."""
    if not (rows := config.stash.get(ROWS, [])):
        return
    terminalreporter.section("clients")
    terminalreporter.write_line(table(rows))
    told = {row.client: {"version": row.version, **row.details} for row in rows}
    (FOLDER / "results.json").write_text(json.dumps(told, indent=1))
