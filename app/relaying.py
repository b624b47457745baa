"""An upstream's answer on its way to the readers of a flight, and the copy beside it."""

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TypeVar

from app.models import Head
from app.recording import Recording
from app.singleflight import Flight
from app.threads import by_size

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
    adds up to, be it fit to be stored or not, is told to those who wait for it in another form.
    """
    flight.begin(head)
    async for piece in response:
        recording.feed(piece)
        await _settle(flight, recording, keep)
        await flight.write(piece)
    recording.end()
    await _settle(flight, recording, keep)


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
