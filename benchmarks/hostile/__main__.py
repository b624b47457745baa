"""Attack a proxy while honest clients use it, and measure the effects on the honest clients.

    python -m benchmarks.hostile [--minutes 30] [--quiet-minutes 2] [--honest 8] [--hostile 8]
                                 [--write]

One process of the proxy serves in two phases: first only honest clients, later honest and hostile
ones. A hostile client makes random attacks, one after another. An attack lasts ten seconds at most,
and a pause of about a second follows. Floods are out of scope (SECURITY.md), and the speed of this
machine is not tested. Clients and upstream run on the same machine as the proxy.

The exit status is 1 if an honest client got no answer or a wrong one, if p99 is more than three
times the p99 of the first phase, or if memory grows. `--write` puts the tables into
docs/reliability.md.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.faults.load import Load
from benchmarks.hostile.attacker import Attackers
from benchmarks.hostile.attacks import ATTACKS
from benchmarks.hostile.result import Phase, Reading, Result, phase, reading_of
from benchmarks.hostile.world import HONEST_KEY, HOSTILE_KEY, world
from benchmarks.reliability import write

_MINUTE = 60  # seconds
_EVERY = 1.0  # seconds between two readings
_SETTLE = 10.0  # seconds; longer than the proxy keeps a connection that is not used


@dataclass(frozen=True, slots=True)
class Plan:
    """The length of each phase in seconds, and the numbers of clients."""

    quiet: float
    mixed: float
    honest: int
    hostile: int

    def __str__(self) -> str:
        return (
            f"{self.honest} honest clients, {self.quiet / _MINUTE:g} minutes alone and "
            f"{self.mixed / _MINUTE:g} minutes with {self.hostile} hostile ones:"
        )


async def measure(plan: Plan) -> Result:
    """Run both phases, and return the results."""
    async with world() as (pid, url):
        load, attackers = Load(url, key=HONEST_KEY), Attackers(url, HOSTILE_KEY, ATTACKS)
        await load.prime()
        async with _running(load, plan.honest):
            quiet = await _watch(load, pid, plan.quiet)
            async with _running(attackers, plan.hostile):
                mixed = await _watch(load, pid, plan.mixed)
            await asyncio.sleep(_SETTLE)
            after = reading_of(pid)
    return Result(quiet, mixed, attackers.attempts, attackers.broken, after)


@asynccontextmanager
async def _running(clients: Load | Attackers, count: int) -> AsyncIterator[None]:
    """Run clients until the end of the block."""
    going_on = asyncio.create_task(clients.run(count))
    try:
        yield
    finally:
        going_on.cancel()
        await asyncio.gather(going_on, return_exceptions=True)


async def _watch(load: Load, pid: int, seconds: float) -> Phase:
    """Read the state of the process every second, for `seconds` in all. Sum up this period."""
    begin = time.monotonic()
    readings: list[Reading] = []
    while (now := time.monotonic()) < begin + seconds:
        readings.append(reading_of(pid))
        await asyncio.sleep(min(_EVERY, begin + seconds - now))
    return phase(load.samples, begin, time.monotonic(), readings)


def main() -> None:
    """Run the measurement with the options of the command line. Print the tables and failures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--quiet-minutes", type=float, default=2.0)
    parser.add_argument("--honest", type=int, default=8)
    parser.add_argument("--hostile", type=int, default=8)
    parser.add_argument("--write", action="store_true")
    told = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # also ends the started process
    plan = Plan(_MINUTE * told.quiet_minutes, _MINUTE * told.minutes, told.honest, told.hostile)
    result = asyncio.run(measure(plan))
    text = result.text(str(plan))
    print(text)
    if told.write:
        write("hostile", text)
    if objections := result.objections():
        raise SystemExit("\n".join(objections))


if __name__ == "__main__":
    main()
