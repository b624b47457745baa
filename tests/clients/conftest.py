"""Prints the table of the lab once its clients have run."""

import pytest

from tests.clients.lab import Row, table

ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> list[Row]:
    """Return the list of rows that this run has filled in."""
    return request.config.stash.setdefault(ROWS, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table."""
    if rows := config.stash.get(ROWS, []):
        terminalreporter.section("clients")
        terminalreporter.write_line(table(rows))
