"""Background work. No two pieces of work with the same name run at once. Failures are logged."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

_logger = logging.getLogger("reprise.store")


class Chores:
    """Runs named coroutines in the background."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Start `work` in the background, unless work named `name` is already running."""
        if name not in self._tasks:
            self._tasks[name] = asyncio.create_task(self._run(name, work))

    async def aclose(self) -> None:
        """Cancel all work that is running."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - no caller awaits this task
            _logger.warning(
                "%s failed with %s; it will be tried again when next needed",
                name,
                type(error).__name__,
            )
        finally:
            del self._tasks[name]
