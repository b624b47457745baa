"""Sends an upstream's answer to the readers of a flight, and records a copy of the answer."""

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
"""A function that stores an answer if allowed.

The function returns the answer for readers that want another form. It returns None if these readers
cannot share the answer.
"""


async def tee(
    flight: Flight,
    response: AsyncIterable[bytes],
    head: Head,
    recorder: Recorder[T],
    keep: Keep[T],
) -> None:
    """Send an answer to the readers of a flight as it arrives, and record the answer.

    If the complete answer can be parsed, `keep` is called once, before the last bytes are sent. So
    a client that has read an answer to the end and repeats the request gets a hit. If recording
    raises an exception, recording stops, but the answer is still sent.
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
    """Call `step` to record a part of the answer. If the answer is complete, call `keep`.

    Return False if one of these calls raised an exception. The exception is logged.
    """
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
