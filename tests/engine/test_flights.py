import asyncio
from collections.abc import Awaitable, Callable

import pytest

from app.core.cache_status import CacheStatus, Head
from app.core.errors import UpstreamInterrupted, UpstreamUnreachable
from app.core.inflight import Inflight
from app.core.models import CacheKey, Fullness, SharedAnswer, StoredResponse
from app.engine.flights import Flight, Flights, Follower

HEAD = Head(200, [(b"x-a", b"1"), (b"set-cookie", b"a=1")], CacheStatus.miss("e"))

ALL = SharedAnswer(b"all", Fullness.ALL)


class Script:
    """A fill of a flight. The test decides each of its steps."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[Callable[[Flight], Awaitable[None]] | None] = asyncio.Queue()
        self.runs = 0
        self.cancelled = False

    async def __call__(self, flight: Flight) -> None:
        self.runs += 1
        try:
            while step := await self.steps.get():
                await step(flight)
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    def begin(self, head: Head = HEAD) -> None:
        async def step(flight: Flight) -> None:
            flight.begin(head)

        self.steps.put_nowait(step)

    def write(self, *pieces: bytes) -> None:
        async def step(flight: Flight) -> None:
            for piece in pieces:
                await flight.write(piece)

        self.steps.put_nowait(step)

    def fail(self, error: Exception) -> None:
        async def step(_: Flight) -> None:
            raise error

        self.steps.put_nowait(step)

    def settle(self, result: SharedAnswer | None) -> None:
        async def step(flight: Flight) -> None:
            flight.settle(result)

        self.steps.put_nowait(step)

    def end(self) -> None:
        self.steps.put_nowait(None)


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


async def body(reader: Follower) -> bytes:
    return b"".join([piece async for piece in reader])


async def test_all_readers_get_the_whole_answer_of_one_run() -> None:
    script, flights = Script(), Flights(100)
    readers = [flights.join("key", script) for _ in range(3)]
    script.begin()
    script.write(b"a", b"b")
    script.end()
    assert [await body(reader) for reader in readers] == [b"ab"] * 3
    assert script.runs == 1


async def test_another_key_is_another_flight() -> None:
    one, other, flights = Script(), Script(), Flights(100)
    flights.join("key", one)
    flights.join("other", other)
    await settle()
    assert (one.runs, other.runs) == (1, 1)


async def test_who_joins_late_gets_everything_from_the_first_byte() -> None:
    script, flights = Script(), Flights(100)
    first = flights.join("key", script)
    script.begin()
    script.write(b"a", b"b")
    await settle()
    late = flights.join("key", script)
    script.write(b"c")
    script.end()
    assert await body(late) == await body(first) == b"abc"


async def test_pieces_arrive_as_they_are_written() -> None:
    script, flights = Script(), Flights(100)
    reader = flights.join("key", script)
    pieces = aiter(reader)
    script.write(b"a")
    assert await anext(pieces) == b"a"
    script.write(b"b")
    assert await anext(pieces) == b"b"
    script.end()
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)


async def test_the_first_reader_may_leave() -> None:
    script, flights = Script(), Flights(100)
    first, second = flights.join("key", script), flights.join("key", script)
    script.begin()
    script.write(b"a")
    await settle()
    await first.aclose()
    await first.aclose()
    script.write(b"b")
    script.end()
    assert await body(second) == b"ab"
    assert not script.cancelled


async def test_when_the_last_reader_leaves_the_fetch_is_cancelled() -> None:
    script, flights = Script(), Flights(100)
    readers = [flights.join("key", script) for _ in range(2)]
    await settle()
    for reader in readers:
        await reader.aclose()
    await settle()
    assert script.cancelled


async def test_nobody_joins_a_flight_that_all_have_left() -> None:
    old, new, flights = Script(), Script(), Flights(100)
    await flights.join("key", old).aclose()
    reader = flights.join("key", new)
    new.begin()
    new.end()
    assert await reader.head() == HEAD
    assert not reader.collapsed


async def test_a_flight_that_is_over_is_forgotten() -> None:
    script, flights = Script(), Flights(100)
    reader = flights.join("key", script)
    script.end()
    await body(reader)
    await settle()
    assert not flights._flights


async def test_a_failure_before_the_head_reaches_every_reader() -> None:
    script, flights = Script(), Flights(100)
    readers = [flights.join("key", script) for _ in range(2)]
    script.fail(UpstreamUnreachable("gone"))
    for reader in readers:
        with pytest.raises(UpstreamUnreachable):
            await reader.head()


async def test_a_failure_in_the_body_comes_after_what_was_written() -> None:
    script, flights = Script(), Flights(100)
    reader = flights.join("key", script)
    script.begin()
    script.write(b"a")
    script.fail(UpstreamInterrupted("cut"))
    await settle()
    pieces = aiter(reader)
    assert await anext(pieces) == b"a"
    with pytest.raises(UpstreamInterrupted):
        await anext(pieces)


async def test_nobody_joins_a_flight_that_has_ended() -> None:
    flights = Flights(100)
    failed, ended = Script(), Script()
    reader = flights.join("key", failed)
    failed.fail(UpstreamUnreachable("gone"))
    with pytest.raises(UpstreamUnreachable):
        await reader.head()
    reader = flights.join("key", ended)
    assert not reader.collapsed
    ended.end()
    await body(reader)
    assert not flights.join("key", Script()).collapsed


async def test_a_flight_that_never_begins_is_an_unreachable_upstream() -> None:
    script, flights = Script(), Flights(100)
    reader = flights.join("key", script)
    script.end()
    with pytest.raises(UpstreamUnreachable):
        await reader.head()


async def test_a_follower_is_told_so_and_gets_no_cookie() -> None:
    script, flights = Script(), Flights(100)
    leader, follower = flights.join("key", script), flights.join("key", script)
    script.begin()
    assert await leader.head() == HEAD
    head = await follower.head()
    assert head.headers == [(b"x-a", b"1")]
    assert head.cache_status.collapsed


async def test_a_follower_of_a_hit_has_a_hit() -> None:
    stored = StoredResponse(CacheKey("p", "d", None), "m", b"{}", 0.0, 60.0)
    head = Head(200, [], CacheStatus.hit(stored, 1.0, 0.1))
    script, flights = Script(), Flights(100)
    flights.join("key", script)
    follower = flights.join("key", script)
    script.begin(head)
    assert await follower.head() == head


async def test_a_flight_of_ones_own_cannot_be_joined() -> None:
    script, flights = Script(), Flights(100)
    flights.alone(script)
    assert not flights.join("key", Script()).collapsed


async def test_an_answer_past_the_window_keeps_memory_bounded() -> None:
    script, flights = Script(), Flights(window=10)
    fast, slow = flights.join("key", script), flights.join("key", script)
    flight = fast._flight
    written = []

    async def step(flight: Flight) -> None:
        for index in range(10):
            await flight.write(b"%d234" % index)
            written.append(index)

    script.steps.put_nowait(step)
    script.end()
    reading = asyncio.create_task(body(fast))
    await settle()
    assert written == [0, 1]  # the third piece does not fit while the slow one has read nothing
    assert flight._kept == 12
    assert not flight.joinable
    assert await body(slow) == await reading == b"".join(b"%d234" % i for i in range(10))


@pytest.mark.parametrize(("most", "kept"), [(1, 300_000), (10_000_000, 800_000)])
async def test_where_too_much_is_on_its_way_little_is_kept_and_the_upstream_waits(
    most: int, kept: int
) -> None:
    inflight = Inflight(most)
    script, flights = Script(), Flights(10_000_000, inflight=inflight)
    reader = flights.join("key", script)
    script.write(*[b"x" * 100_000] * 8)
    script.end()
    await settle()
    assert inflight.held == kept
    assert reader._flight.joinable == (most > 1 and not reader._flight._ended)
    assert await body(reader) == b"x" * 800_000
    await reader.aclose()
    await settle()
    assert inflight.held == 0


async def test_a_reader_is_given_a_little_at_a_time() -> None:
    script, flights = Script(), Flights(10_000_000)
    reader = flights.join("key", script)
    script.write(*[b"x" * 1000] * 500, b"y" * 100_000, b"z")
    script.end()
    await settle()
    assert [len(piece) async for piece in reader] == [65_000] * 7 + [45_000, 100_000, 1]


async def test_a_slow_reader_that_leaves_no_longer_holds_the_others_up() -> None:
    script, flights = Script(), Flights(window=10)
    fast, slow = flights.join("key", script), flights.join("key", script)
    script.write(*[b"1234"] * 5)
    script.end()
    reading = asyncio.create_task(body(fast))
    await settle()
    assert not reading.done()
    await slow.aclose()
    assert await reading == b"1234" * 5


async def test_a_reader_that_is_cancelled_disturbs_no_other() -> None:
    script, flights = Script(), Flights(100)
    one, other = flights.join("key", script), flights.join("key", script)
    reading = asyncio.create_task(body(one))
    await settle()
    reading.cancel()
    script.begin()
    script.write(b"a")
    script.end()
    assert await body(other) == b"a"


async def test_a_reader_that_stalls_is_cut_off_where_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.engine.flights._PATIENCE", 0.01)
    script, flights = Script(), Flights(window=10)
    stalled, reading = flights.join("key", script), flights.join("key", script)
    script.begin()
    script.write(*[b"12345"] * 9)
    script.end()
    assert await body(reading) == b"12345" * 9
    with pytest.raises(UpstreamInterrupted):
        await body(stalled)


async def test_a_reader_that_stalls_alone_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.engine.flights._PATIENCE", 0.001)
    script, flights = Script(), Flights(window=10)
    stalled = flights.join("key", script)
    script.begin()
    script.write(*[b"12345"] * 9)
    script.end()
    await stalled.head()
    waited = asyncio.Event()
    asyncio.get_running_loop().call_later(0.02, waited.set)
    await waited.wait()
    assert await body(stalled) == b"12345" * 9


@pytest.mark.parametrize("result", [ALL, None])
async def test_what_an_answer_adds_up_to_is_told_before_its_end(
    result: SharedAnswer | None,
) -> None:
    script, flights = Script(), Flights(100)
    leader, follower = flights.join("key", script, "form"), flights.join("key", script)
    waiting = asyncio.create_task(follower.result())
    script.begin()
    script.write(b"a")
    await settle()
    assert not waiting.done()
    script.settle(result)
    script.settle(SharedAnswer(b"late", Fullness.ALL))
    assert await waiting == result
    script.end()
    assert await body(leader) == b"a"
    assert follower.form == "form"


async def test_another_flight_that_does_as_well_is_joined() -> None:
    flights = Flights(100)
    script, own = Script(), Script()
    other = flights.join("other", script)
    reader = flights.join("key", own, others=["missing", "other"])
    assert reader.collapsed
    script.begin()
    script.write(b"a")
    script.end()
    assert await body(reader) == await body(other) == b"a"
    await settle()
    assert not flights.join("key", own, others=["missing", "other"]).collapsed


async def test_an_answer_that_fails_adds_up_to_nothing() -> None:
    script, flights = Script(), Flights(100)
    follower = flights.join("key", script)
    script.fail(UpstreamInterrupted("cut"))
    assert await follower.result() is None


async def test_who_waits_for_what_an_answer_adds_up_to_holds_nobody_up() -> None:
    script, flights = Script(), Flights(window=10)
    reading, waiting = flights.join("key", script), flights.join("key", script)
    task = asyncio.create_task(waiting.result())
    script.write(*[b"12345"] * 9)
    script.settle(ALL)
    script.end()
    assert await body(reading) == b"12345" * 9
    assert await task == ALL


async def test_a_fetch_that_all_have_left_is_finished_where_that_is_wanted() -> None:
    script, flights = Script(), Flights(100, finish=True)
    await flights.join("key", script).aclose()
    script.write(b"a")
    await settle()
    late = flights.join("key", Script())
    assert late.collapsed
    await late.aclose()
    script.end()
    await settle()
    assert not script.cancelled
    assert not flights._flights
    assert not flights._started


@pytest.mark.parametrize("result", [ALL, None])
async def test_a_fetch_is_finished_for_the_sake_of_what_it_adds_up_to(
    result: SharedAnswer | None,
) -> None:
    script, flights = Script(), Flights(100, finish=True)
    await flights.alone(script).aclose()
    script.settle(result)
    await settle()
    assert script.cancelled


async def test_a_fetch_that_all_have_left_is_waited_for_at_shutdown() -> None:
    script, flights = Script(), Flights(100, finish=True)
    await flights.join("key", script).aclose()
    closing = asyncio.create_task(flights.aclose())
    await settle()
    assert not closing.done()
    script.end()
    await closing
    assert not script.cancelled


async def test_a_fetch_that_takes_too_long_is_ended_at_shutdown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.engine.flights._CLOSING_SECONDS", 0.01)
    script, flights = Script(), Flights(100, finish=True)
    await flights.alone(script).aclose()
    await settle()
    await flights.aclose()
    assert script.cancelled


async def test_a_fetch_that_outgrows_the_window_is_not_finished_for_nobody() -> None:
    script, flights = Script(), Flights(10, finish=True)
    await flights.join("key", script).aclose()
    script.write(b"12345", b"12345")
    await settle()
    assert not script.cancelled
    script.write(b"1")
    await settle()
    assert script.cancelled


async def test_patience_with_a_slow_reader_is_used_up_bit_by_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.engine.flights._PATIENCE", 0.05)
    script, flights = Script(), Flights(window=10)
    slow, quick = flights.join("key", script), flights.join("key", script)
    script.write(*[b"12345"] * 1000)
    script.end()
    reading = asyncio.create_task(body(quick))
    seen = 0

    async def read_slowly() -> None:
        nonlocal seen
        async for piece in slow:
            seen += len(piece)
            paused = asyncio.Event()
            asyncio.get_running_loop().call_later(0.01, paused.set)
            await paused.wait()

    with pytest.raises(UpstreamInterrupted):
        await read_slowly()
    assert 0 < seen < 5000
    assert await reading == b"12345" * 1000
