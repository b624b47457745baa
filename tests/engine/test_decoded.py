"""An answer that is decoded for its client."""

import asyncio
import gzip
from collections.abc import AsyncIterator

from app.core.cache_status import CacheStatus, Head, Outcome
from app.engine.decoded import Decoded

EXPANDED = 2_000_000  # bytes


class Answer:
    """An answer whose body is one small piece that expands."""

    async def head(self) -> Head:
        return Head(200, [(b"content-encoding", b"gzip")], CacheStatus(Outcome.BYPASS))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield gzip.compress(bytes(EXPANDED))

    async def aclose(self) -> None:
        pass


async def test_others_have_a_turn_at_each_piece_of_an_answer_that_expands() -> None:
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    going_on = asyncio.create_task(another())
    decoded = Decoded(Answer())
    await decoded.head()
    pieces = [piece async for piece in decoded]
    going_on.cancel()
    assert sum(map(len, pieces)) == EXPANDED
    assert turns >= len(pieces) - 1 > 10
