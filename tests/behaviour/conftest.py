"""Fixtures for tests of a running proxy."""

from collections.abc import AsyncIterator

import pytest

from tests.servers import Setup


@pytest.fixture
async def base_url(setup: Setup) -> AsyncIterator[str]:
    """Run the proxy that a test module sets up; yield its base URL."""
    async with setup.run() as url:
        yield url
