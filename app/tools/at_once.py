"""Runs many pieces of work, as many at once as there are processors."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def each(
    items: Iterable[T], work: Callable[[T], Awaitable[R]], advance: Callable[[], None]
) -> Sequence[R]:
    """Return the results of `work` on each item, in the order of the items.

    `advance` is called after each item. If `work` raises errors, the first of them is raised.
    """
    ahead = iter(enumerate(items))
    done: dict[int, R] = {}

    async def take() -> None:
        for place, item in ahead:
            done[place] = await work(item)
            advance()

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(os.cpu_count() or 1):
                tasks.create_task(take())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [done[place] for place in range(len(done))]
