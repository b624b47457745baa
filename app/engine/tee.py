"""An upstream's answer on its way to the readers of a flight, and the copy beside it."""

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
"""Stores an answer if it may be, and returns what others who asked the same may have of it."""


async def tee(
    flight: Flight,
    response: AsyncIterable[bytes],
    head: Head,
    recorder: Recorder[T],
    keep: Keep[T],
) -> None:
    """Pass an answer on as it arrives; `keep` is called with what it adds up to, at most once.

    That is before the last bytes go on: who has read them and asks again, hits. A defect of ours
    ends the copy, and not the answer.
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
    """Take a step of the copy; return whether it goes on."""
    try:
        step()
        if recorder.is_complete:
            recorded = await by_size(recorder.size, recorder.outcome)
            flight.settle(None if recorded is None else await keep(recorded))
        elif recorder.reason:
            flight.settle(None)
    except Exception as error:  # noqa: BLE001 - whatever it is, the answer is none of it
        log_defect(error)
        flight.settle(None)
        return False
    return True
