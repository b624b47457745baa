"""The benchmark of faults does what its page says."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.__main__ import HEAD, Course, table
from benchmarks.faults.catalog import FAULTS
from benchmarks.faults.load import Figures, Sample, figures
from benchmarks.faults.valve import Flow, Valve, valve_before
from benchmarks.faults.world import name_of
from benchmarks.reliability import write

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text()


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(100):
            writer.write(piece.upper())
    writer.close()


@pytest.fixture
async def valve() -> AsyncIterator[Valve]:
    async with (
        await asyncio.start_server(shout, "127.0.0.1", 0) as server,
        valve_before(server.sockets[0].getsockname()[1]) as valve,
    ):
        yield valve


async def said(valve: Valve) -> bytes:
    """Send bytes through a valve. Return the reply, empty if the valve cuts the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", valve.port)
    writer.write(b"abc")
    try:
        return await reader.read(100)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_valve_lets_through_what_it_is_to_let_through(valve: Valve) -> None:
    assert await said(valve) == b"ABC"
    await valve.turn(Flow.CORRUPT)
    assert await said(valve) == b"ARC"
    await valve.turn(Flow.KILLED)
    with pytest.raises(ConnectionError):
        await said(valve)
    await valve.turn(Flow.OPEN)
    assert await said(valve) == b"ABC"


async def test_what_a_valve_has_held_comes_when_it_is_opened(valve: Valve) -> None:
    await valve.turn(Flow.HUNG)
    waiting = asyncio.create_task(said(valve))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    await valve.turn(Flow.OPEN)
    assert await waiting == b"ABC"


async def test_a_valve_that_is_killed_breaks_what_is_open(valve: Valve) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", valve.port)
    writer.write(b"abc")
    assert await reader.read(100) == b"ABC"
    await valve.turn(Flow.KILLED)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()


def test_no_name_is_another_one_with_a_typing_error() -> None:
    names = [name_of(number) for number in range(0, 40_000, 30)]
    named = {name[:at] + "." + name[at + 2 :] for name in names for at in range(0, len(name), 2)}
    assert len(named) == 4 * len(names)  # two that differ in one syllable would have one in common


SAMPLE: dict[str, Any] = {"seconds": 0.5, "is_answered": True, "is_wrong": False, "is_hit": False}


def test_of_what_began_in_some_time_failures_and_wrong_answers_are_counted() -> None:
    samples = [
        Sample(at=1.0, is_known=True, **SAMPLE),
        Sample(at=2.0, is_known=True, **{**SAMPLE, "is_answered": False}),
        Sample(at=2.5, is_known=False, **{**SAMPLE, "is_answered": False}),
        Sample(at=3.0, is_known=True, **{**SAMPLE, "is_wrong": True, "is_hit": True}),
        Sample(at=4.0, is_known=True, **SAMPLE),
    ]
    assert figures(samples, 2.0, 4.0, known_only=False) == Figures(3, 2, 1, 1, 0.5)
    assert figures(samples, 2.0, 4.0, known_only=True) == Figures(2, 1, 1, 1, 0.5)


def test_the_table_is_put_where_the_last_one_was(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    before, during = Figures(9, 0, 0, 5, 0.01), Figures(10, 1, 2, 3, 0.02)
    for name in ("store killed", "disk full"):
        write(
            "faults",
            table([Course(name, before, during, 2.04), Course(name, before, during, None)], "X:"),
            page,
        )
    told = page.read_text()
    assert "| disk full | 10 | 1 | 2 | 3 | 10 ms | +10 ms | 2.0 s |" in told
    assert "| +10 ms | not |" in told
    assert "store killed | 10" not in told
    assert told.count(HEAD) == 1


def test_every_kind_of_fault_is_explained() -> None:
    named = set(re.findall(r"`([a-z ]+)`", PAGE.split("## Measured")[0]))
    parts = {"store", "embedder", "verifier", "upstream"}
    unexplained = {
        name
        for name in FAULTS
        if name not in named and not (name.split()[0] in parts and name.split()[1] in named)
    }
    assert unexplained == {"clock set forward an hour"}  # named as `… forward`
