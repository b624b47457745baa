"""Many pieces of work at the same time, and their results."""

import asyncio
import os

import pytest

from app.tools.at_once import each


async def test_results_come_in_the_order_of_the_items() -> None:
    late = asyncio.Event()
    steps: list[int] = []

    async def work(item: int) -> int:
        if item == 0:
            await late.wait()
        late.set()
        return item * 2

    if os.cpu_count() == 1:
        late.set()
    assert await each(range(5), work, lambda: steps.append(1)) == [0, 2, 4, 6, 8]
    assert len(steps) == 5


async def test_a_failure_ends_it() -> None:
    async def fail(_: int) -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await each(range(3), fail, lambda: None)
