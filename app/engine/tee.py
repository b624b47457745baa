"""An upstream's answer on its way to the readers of a flight, and the copy beside it."""

from collections.abc import AsyncIterable, Awaitable, Callable
from functools import partial
from typing import TypeVar

from app.core.defects import log_defect
from app.core.models import Head
from app.core.offload import by_size
from app.engine.flights import Flight
from app.engine.recorder import Recording

T = TypeVar("T")


async def relay(
    flight: Flight,
    response: AsyncIterable[bytes],
    head: Head,
    recording: Recording[T],
    keep: Callable[[T], Awaitable[None]],
) -> None:
    """Pass an answer on as it arrives; `keep` is called with what may be stored, at most once.

    That is before the last bytes go on: who has read them and asks again, hits. What the answer
    adds up to, be it fit to be stored or not, is told to those who wait for it in another form. A
    defect of ours ends the copy, and not the answer.
    """
    flight.begin(head)
    is_sound = True
    async for piece in response:
        if is_sound:
            is_sound = await _record(partial(recording.feed, piece), flight, recording, keep)
        await flight.write(piece)
    if is_sound:
        await _record(recording.end, flight, recording, keep)


async def _record(
    step: Callable[[], None],
    flight: Flight,
    recording: Recording[T],
    keep: Callable[[T], Awaitable[None]],
) -> bool:
    """Take a step of the copy, and tell whether it goes on."""
    try:
        step()
        await _settle(flight, recording, keep)
    except Exception as error:  # noqa: BLE001 - whatever it is, the answer is none of it
        log_defect(error)
        flight.settle(None)
        return False
    return True


async def _settle(
    flight: Flight, recording: Recording[T], keep: Callable[[T], Awaitable[None]]
) -> None:
    if recording.is_complete:
        outcome = await by_size(recording.size, recording.outcome)
        if outcome is not None:
            await keep(outcome)
        flight.settle(recording.content)
    elif recording.reason:
        flight.settle(None)
