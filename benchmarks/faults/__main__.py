"""Break the parts that a proxy depends on while clients send requests, and count the effects.

    python -m benchmarks.faults [--only NAME…] [--seconds 10] [--clients 16] [--write]
    python -m benchmarks.faults --list

Each fault has its own proxy with its own parts. Clients send requests for `--seconds` before the
fault, during the fault, and after it. `--write` puts the table into docs/reliability.md.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.faults.catalog import FAULTS, Fault
from benchmarks.faults.load import Figures, Load, figures
from benchmarks.faults.world import world
from benchmarks.reliability import write

HEAD = "| fault | requests | failed | wrong | hits | p99 before | added p99 | recovers after |"
_LONGEST = 30.0  # seconds to wait for a proxy that recovers
_LOOK = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Course:
    """The effects of a fault. `recovery` is in seconds; None if the proxy did not recover."""

    name: str
    before: Figures
    during: Figures
    recovery: float | None

    def row(self) -> str:
        """Return a row of the table."""
        during, added = self.during, 1000 * (self.during.p99 - self.before.p99)
        after = "not" if self.recovery is None else f"{self.recovery:.1f} s"
        cells = [self.name, during.requests, during.failed, during.wrong, during.hits]
        cells += [f"{1000 * self.before.p99:.0f} ms", f"{added:+.0f} ms", after]
        return f"| {' | '.join(map(str, cells))} |"


async def measure(name: str, fault: Fault, seconds: float, clients: int) -> Course:
    """Run a proxy and its parts before, during and after a fault. Return the effects.

    `seconds` is the length of each of the three phases.
    """
    async with world(on_disk=fault.on_disk) as broken:
        load = Load(broken.url)
        await load.prime()
        going_on = asyncio.create_task(load.run(clients))
        await asyncio.sleep(seconds)
        begin = time.monotonic()
        await fault.act(broken)
        await asyncio.sleep(seconds)
        end = time.monotonic()
        with suppress(ProcessLookupError):
            await fault.undo(broken)
        recovery = await recovered(load, end)
        await asyncio.sleep(max(0.0, seconds - (time.monotonic() - end)))
        going_on.cancel()
        await asyncio.gather(going_on, return_exceptions=True)
    known_only = fault.is_upstreams
    return Course(
        name,
        figures(load.samples, begin - seconds, begin, known_only=known_only),
        figures(load.samples, begin, end, known_only=known_only),
        recovery,
    )


async def recovered(load: Load, since: float) -> float | None:
    """Return how many seconds after `since` everything works again; None after 30 seconds.

    `since` is a time of the monotonic clock.
    """
    async with load.client() as client:
        while (waited := time.monotonic() - since) < _LONGEST:
            if await load.is_served(client):
                return waited
            await asyncio.sleep(_LOOK)
    return None


def table(courses: Sequence[Course], how: str) -> str:
    """Return the table in Markdown, as in docs/reliability.md. `how` is a line above the table."""
    line = "|" + "---|" * (HEAD.count("|") - 1)
    return "\n".join([how, "", HEAD, line, *(course.row() for course in courses), ""])


def main() -> None:
    """Measure the faults that the command line names, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS), metavar="NAME")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--list", action="store_true", help="name the faults and do nothing")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(FAULTS))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # also ends the started processes
    courses = []
    for name in arguments.only:
        course = asyncio.run(measure(name, FAULTS[name], arguments.seconds, arguments.clients))
        print(course.row(), flush=True)
        courses.append(course)
    how = f"{arguments.clients} clients, {arguments.seconds:g} seconds with each fault:"
    if arguments.write:
        write("faults", table(courses, how))


if __name__ == "__main__":
    main()
