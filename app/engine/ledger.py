"""Writes the sums of a Tally to the store in the background, and reads all sums from the store."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from app.core.errors import DependencyUnavailable
from app.core.ports import Keeping
from app.core.tally import Tally
from app.engine.resilient_store import ResilientStore

_PAUSE = 1.0  # seconds between two writes
_LONGEST_PAUSE = 60.0  # seconds between two attempts while the store fails


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums by name, and where they are kept.

    If the store did not answer, `kept_in` is `process`: the sums are those of this process.
    """

    amounts: Mapping[str, int]
    kept_in: Keeping


class Ledger:
    """Writes sums to the store, at most once in `pause` seconds.

    A write that fails is repeated later, so nothing is lost while the process runs. If the store
    applies a write but the store's confirmation does not arrive, the amounts are counted twice.
    """

    def __init__(self, store: ResilientStore, tally: Tally, pause: float = _PAUSE) -> None:
        self._store = store
        self._pause = pause
        self._tally = tally
        self._writing: asyncio.Task[None] | None = None
        tally.on_add = self._begin

    async def sums(self) -> Sums:
        """Return the store's sums, or only this process's sums if the store does not answer."""
        try:
            await self._write()
            return Sums(await self._store.totals(), self._store.totals_last)
        except DependencyUnavailable:
            return Sums(self._tally.own, "process")

    def _begin(self) -> None:
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_soon())

    async def _write_soon(self) -> None:
        pause = self._pause
        try:
            while self._tally.is_pending:
                await asyncio.sleep(pause)
                try:
                    await self._write()
                except DependencyUnavailable:
                    pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._writing = None

    async def _write(self) -> None:
        if not (taken := self._tally.take()):
            return
        try:
            await self._store.add_totals(taken)
        except BaseException:
            self._tally.put_back(taken)
            raise

    async def aclose(self) -> None:
        """Write the remaining sums to the store. If the store fails, these sums are lost."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])
        with suppress(DependencyUnavailable):
            await self._write()
