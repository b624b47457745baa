"""Compares a stored answer with the upstream's answer to the same request."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from app.core.defects import log_defect
from app.core.offload import by_size
from app.dialects.said import said_in
from app.engine.flights import see_out
from app.engine.pairs import shown
from app.matching.comparison import Agreement, compare

_MOST = 16  # running comparisons; no more are started, so that they delay no answer
_TIMES = 50  # comparing takes about this many times as long as parsing


@dataclass(frozen=True, slots=True)
class Compared:
    """The result of comparing a stored answer with an answer of the upstream.

    `stored`: the beginning of the stored answer's text, as one line.
    `answer`: the beginning of the upstream answer's text, as one line.
    """

    agreement: Agreement
    stored: str = field(repr=False)
    answer: str = field(repr=False)


async def compared(stored: bytes, answer: bytes) -> Compared:
    """Compare a stored answer with an answer of the upstream.

    Each argument is the content of an answer as the store keeps it. Raises ValueError if one of
    the answers cannot be read.
    """

    def work() -> Compared:
        one, other = said_in(stored), said_in(answer)
        return Compared(compare(one, other), shown(one), shown(other))

    return await by_size(_TIMES * (len(stored) + len(answer)), work)


class Comparisons:
    """Compares held-back stored answers with the upstream's answers, in the background."""

    def __init__(self) -> None:
        self._under_way = set[asyncio.Task[None]]()

    def begin(self, stored: bytes, answer: bytes, note: Callable[[Compared], None]) -> None:
        """Start to compare a stored answer with the upstream's `answer`, and return at once.

        `note` is called with the result. If too many comparisons are running, no
        comparison starts, and `note` is not called.
        """
        if len(self._under_way) >= _MOST:
            return
        task = asyncio.create_task(self._compare(stored, answer, note))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _compare(
        self, stored: bytes, answer: bytes, note: Callable[[Compared], None]
    ) -> None:
        try:
            note(await compared(stored, answer))
        except Exception as error:  # noqa: BLE001 - nobody waits for it
            log_defect(error)

    async def aclose(self) -> None:
        """Wait for running comparisons, and cancel those that take longer than five seconds."""
        await see_out(list(self._under_way))
