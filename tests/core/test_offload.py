import asyncio
import threading

import pytest

from app.core.errors import Overloaded
from app.core.offload import Threads


async def test_work_is_done_off_the_event_loop() -> None:
    threads = Threads("test", 1, 0)
    assert await threads.run(threading.get_ident) != threading.get_ident()
    threads.shutdown()


async def test_what_work_raises_comes_out() -> None:
    threads = Threads("test", 1, 0)
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    threads.shutdown()


async def test_work_beyond_the_queue_is_refused_until_there_is_room() -> None:
    threads, gate = Threads("test", 1, 1), threading.Event()
    working = [asyncio.create_task(threads.run(gate.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await threads.run(gate.wait)
    gate.set()
    await asyncio.gather(*working)
    while threads._room < 2:
        await asyncio.sleep(0)  # the threads say so in a moment
    assert await threads.run(lambda: "done") == "done"
    threads.shutdown()


async def test_work_that_would_wait_for_longer_than_patience_is_refused() -> None:
    threads, gate = Threads("test", 1, 100, patience=1.0), threading.Event()
    threads._note(0.4 * 8)  # work takes 0.4 seconds
    working = [asyncio.create_task(threads.run(gate.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await threads.run(gate.wait)
    gate.set()
    await asyncio.gather(*working)
    threads.shutdown()


async def test_how_long_work_takes_is_learnt_and_forgotten() -> None:
    threads = Threads("test", 1, 1)
    threads._note(1000.0)
    for _ in range(200):
        await threads.run(lambda: None)
    assert threads._usual < 0.01
    threads.shutdown()


async def test_work_that_nobody_waits_for_any_longer_still_takes_its_place() -> None:
    threads, gate = Threads("test", 1, 0), threading.Event()
    begun = threading.Event()

    def work() -> bool:
        begun.set()
        return gate.wait()

    working = asyncio.create_task(threads.run(work))
    await asyncio.sleep(0)
    await asyncio.to_thread(begun.wait)
    working.cancel()
    await asyncio.wait({working})
    with pytest.raises(Overloaded):
        await threads.run(gate.wait)
    gate.set()
    threads.shutdown()


def test_work_that_outlives_the_event_loop_ends_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    threads, gate = Threads("test", 1, 0), threading.Event()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(threads.run(gate.wait), 0.01)

    asyncio.run(give_up())
    gate.set()
    threads._executor.shutdown(wait=True)
    assert caplog.text == ""
