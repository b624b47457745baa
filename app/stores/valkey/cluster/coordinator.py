"""Finds out whether valkey-search's coordinator runs.

If the coordinator runs, one node searches the whole cluster.
"""

import asyncio
import logging
import time
from contextlib import suppress

from app.stores.valkey.client import Refused
from app.stores.valkey.cluster.layout import Place
from app.stores.valkey.cluster.nodes import Nodes
from app.stores.valkey.search import is_missing, is_not_loaded

_PAUSE = 1.0  # seconds until a node is asked again after an unclear answer
_LASTS = 60.0  # seconds for which a clear answer is used

_logger = logging.getLogger("reprise.store")


class Coordinator:
    """Knows whether valkey-search's coordinator runs.

    As long as this is unknown, the coordinator counts as not running, and every primary is
    searched. Such a search gives correct results whether the coordinator runs or not.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._runs: bool | None = None
        self._next_look = 0.0
        self._looking: asyncio.Task[None] | None = None

    def runs(self, index: str, place: Place) -> bool:
        """Return whether the coordinator is known to run.

        From time to time, a call also starts a background request to the node `place`, to find out
        whether the coordinator runs. The request asks about the index with the name `index`.
        """
        if self._looking is None and time.monotonic() >= self._next_look:
            self._looking = asyncio.create_task(self._look(index, place))
        return bool(self._runs)

    async def aclose(self) -> None:
        """Cancel the request in the background, if there is one."""
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking

    async def _look(self, index: str, place: Place) -> None:
        command = ("FT.INFO", index, "CLUSTER")
        try:
            (reply,) = await self._nodes.ask(place, [command], is_telling=False)
        finally:
            self._looking = None
        is_clear = isinstance(reply, list) or _says_no(reply)
        self._next_look = time.monotonic() + (_LASTS if is_clear else _PAUSE)
        if is_clear and self._runs != (runs := isinstance(reply, list)):
            self._runs = runs
            if runs:
                _logger.info(
                    "valkey-search runs with its coordinator: each search is sent to one node only"
                )
            else:
                _logger.warning(
                    "valkey-search runs without its coordinator (--use-coordinator), so each node "
                    "searches its own keys only: each search is sent to all primaries"
                )


def _says_no(reply: object) -> bool:
    """Whether a reply refuses FT.INFO's option CLUSTER.

    A node refuses it if valkey-search runs without a coordinator or is too old.
    """
    if not isinstance(reply, Refused) or is_missing(reply) or is_not_loaded(reply):
        return False
    return "CLUSTER" in str(reply) or "arguments" in str(reply)
