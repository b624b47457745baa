"""The benchmark of hostile clients does what its page says."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from benchmarks.faults.load import Load, Sample
from benchmarks.hostile.attacker import Attack, Attacker, Attackers
from benchmarks.hostile.attacks import ATTACKS
from benchmarks.hostile.result import Phase, Reading, Result, growth, phase, reading_of
from benchmarks.hostile.world import HONEST_KEY, HOSTILE_KEY, Upstream
from benchmarks.reliability import PAGE, write
from tests.servers import Setup

SECONDS = 0.3  # that the proxy has for a client that stalls
SAMPLE: dict[str, Any] = {"is_answered": True, "is_wrong": False, "is_known": True, "is_hit": True}
FAILED: dict[str, Any] = {**SAMPLE, "is_answered": False, "is_hit": False}


def readings(*megabytes: int) -> list[Reading]:
    return [Reading(size * 1_000_000, 30) for size in megabytes]


FLAT = readings(*range(200, 220), *[300] * 80)
QUIET = phase([Sample(at=n, seconds=0.1, **SAMPLE) for n in range(9)], 0, 9, readings(200))


def mixed(*samples: Sample, state: list[Reading] = FLAT) -> Phase:
    return phase(samples, 0, 9, state)


def result(part: Phase, broken: dict[str, int] | None = None) -> Result:
    return Result(QUIET, part, {"odd headers": 3}, broken or {}, Reading(300_000_000, 31))


def test_what_began_in_some_time_is_summed_up_with_its_failures() -> None:
    samples = [
        Sample(at=1.0, seconds=9.0, **SAMPLE),
        Sample(at=2.0, seconds=0.1, **SAMPLE),
        Sample(at=3.0, seconds=0.3, **SAMPLE),
        Sample(at=3.0, seconds=5.0, failure="ReadTimeout", **FAILED),
        Sample(at=3.0, seconds=0.0, failure="503", **FAILED),
        Sample(at=3.5, seconds=0.0, failure="503", **FAILED),
        Sample(at=4.0, seconds=9.0, **SAMPLE),
    ]
    part = phase(samples, 2.0, 4.0, FLAT)
    assert (part.figures.requests, part.figures.failed, part.figures.hits) == (5, 3, 2)
    assert part.median == pytest.approx(0.2)
    assert part.failures == {"503": 2, "ReadTimeout": 1}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([100, 200, 300, 300, 200], 1.0),
        ([100, 100, 200, 200, 200, 900, 900, 900, 300, 300], 1.5),
        ([100], 1.0),
        ([], float("nan")),
    ],
)
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_growth_is_from_the_second_fifth_to_the_last(sizes: list[int], expected: float) -> None:
    assert growth(readings(*sizes)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("part", "broken", "objection"),
    [
        (mixed(Sample(at=1, seconds=0.2, **SAMPLE)), {}, None),
        (mixed(), {}, "mixed: no requests"),
        (mixed(Sample(at=1, seconds=0.31, **SAMPLE)), {}, "p99 is 3.1 times"),
        (
            mixed(
                Sample(at=1, seconds=0.1, **SAMPLE),
                Sample(at=1, seconds=0.1, failure="503", **FAILED),
            ),
            {},
            "mixed: 1 failed: {'503': 1}",
        ),
        (mixed(Sample(at=1, seconds=0.1, **{**SAMPLE, "is_wrong": True})), {}, "mixed: 1 wrong"),
        (
            mixed(Sample(at=1, seconds=0.1, **SAMPLE), state=readings(1, 100, 1, 1, 112)),
            {},
            "memory has grown 1.12 times",
        ),
        (mixed(Sample(at=1, seconds=0.1, **SAMPLE)), {"odd headers": 2}, "odd headers: 2 not made"),
    ],
)
def test_what_is_not_as_it_must_be_is_objected_to(
    part: Phase, broken: dict[str, int], objection: str | None
) -> None:
    objections = result(part, broken).objections()
    if objection is None:
        assert objections == []
    else:
        assert any(found.startswith(objection) for found in objections)


def test_the_tables_are_put_where_the_last_ones_were(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    told = result(mixed(Sample(at=1, seconds=0.2, **SAMPLE)))
    for how in ("First:", "Second:"):
        write("hostile", told.text(how), page)
    text = page.read_text()
    assert "First:" not in text
    assert text.count("| honest, hostile | 1 | 0 | 0 | 100 % | 200 ms | 200 ms |") == 1
    assert "| memory | 200 MB | 210 MB | 300 MB | 300 MB | 300 MB | 300 MB |" in text
    assert "| open files | 30 | 30 | 30 | 30 | 30 | 31 |" in text
    assert "| odd headers | 3 |" in text
    assert "store killed" in text.split("<!-- hostile -->")[0]


def test_the_state_of_a_process_is_read() -> None:
    reading = reading_of(os.getpid())
    assert reading.memory > 1_000_000
    assert reading.files > 2


async def refused(attacker: Attacker) -> None:
    raise ConnectionRefusedError


async def mistaken(attacker: Attacker) -> None:
    raise ValueError


async def test_a_mistake_in_an_attack_is_counted_and_the_client_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    attacks: dict[str, Attack] = {"refused": refused, "mistaken": mistaken}
    attackers = Attackers("http://127.0.0.1:1", HOSTILE_KEY, attacks)
    going_on = asyncio.create_task(attackers.run(8))
    async with asyncio.timeout(5):
        while not attackers.broken:
            await asyncio.sleep(0)
    assert not going_on.done()
    going_on.cancel()
    await asyncio.wait([going_on])
    assert attackers.attempts["refused"] > 0
    assert set(attackers.broken) == {"mistaken"}
    assert "ValueError" in capsys.readouterr().err


@pytest.fixture
async def proxy() -> AsyncIterator[tuple[str, int]]:
    setup = Setup(
        upstream_api_key=SecretStr("sk-upstream"),
        api_keys=(SecretStr(HONEST_KEY), SecretStr(HOSTILE_KEY)),
        passthrough="on",
        max_connections=64,
        head_timeout=SECONDS,
        client_timeout=SECONDS,
        idle_timeout=SECONDS,
    )
    setup.upstream.handler = Upstream().serve
    async with setup.run_on_socket() as (_, host, port):
        yield host, port


@pytest.mark.parametrize("kind", ATTACKS)
async def test_each_attack_can_be_made_and_leaves_the_proxy_working(
    kind: str, proxy: tuple[str, int]
) -> None:
    host, port = proxy
    draw = random.Random(1)  # noqa: S311 - no secret
    attacker = Attacker(host, port, "127.0.0.2", HOSTILE_KEY, draw, patience=SECONDS)
    async with asyncio.timeout(20):
        with suppress(ConnectionResetError, BrokenPipeError):  # it may not be refused at all
            await ATTACKS[kind](attacker)
        load = Load(f"http://{host}:{port}", key=HONEST_KEY)
        async with load.client() as client:
            assert await load.is_served(client)
