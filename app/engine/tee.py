"""Passes an upstream's answer on to the readers of a flight, and records a copy of it."""

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TypeVar

from app.core.cache_status import Head
from app.core.defects import log_defect
from app.core.models import SharedAnswer
from app.core.offload import by_size
from app.engine.flights import Flight
from app.engine.recorder import Recorder
from app.rules.decisions import Recorded

T = TypeVar("T")

Keep = Callable[[Recorded[T]], Awaitable[SharedAnswer | None]]
"""Stores an answer, if allowed; returns it as other readers may share it, or None."""


async def tee(
    flight: Flight,
    response: AsyncIterable[bytes],
    head: Head,
    recorder: Recorder[T],
    keep: Keep[T],
) -> None:
    """Pass an answer on as it arrives; call `keep` with the complete answer, at most once.

    `keep` is called before the last bytes are passed on, so that a client which has read them and
    asks again gets a hit. A bug of ours in recording ends the copy, but not the answer.
    """
    flight.begin(head)
    is_sound = True
    async for piece in response:
        if is_sound:
            is_sound = await _copy(lambda: recorder.feed(piece), flight, recorder, keep)  # noqa: B023 - called at once
        await flight.write(piece)
    if is_sound:
        await _copy(recorder.end, flight, recorder, keep)


async def _copy(
    step: Callable[[], None], flight: Flight, recorder: Recorder[T], keep: Keep[T]
) -> bool:
    """Do one step of recording; return False if recording has failed."""
    try:
        step()
        if recorder.is_complete:
            recorded = await by_size(recorder.size, recorder.outcome)
            flight.settle(None if recorded is None else await keep(recorded))
        elif recorder.reason:
            flight.settle(None)
    except Exception as error:  # noqa: BLE001 - it must not affect the answer
        log_defect(error)
        flight.settle(None)
        return False
    return True
