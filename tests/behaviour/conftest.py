"""What tests of the running proxy share."""

from collections.abc import AsyncIterator

import pytest

from tests.servers import Setup


@pytest.fixture
async def base_url(setup: Setup) -> AsyncIterator[str]:
    """Run the proxy that a module sets up."""
    async with setup.run() as url:
        yield url
