"""The results of both phases, and the conditions that they must meet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.faults.load import Figures, Sample, figures

_MOST_SLOWER, _MOST_GROWTH = 3.0, 1.1
_FIFTHS = 5
_EARLY, _MIDDLE = 0.1, 0.5  # shares of a run
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """The memory of a process in bytes (VmRSS), and the number of its open files."""

    memory: int
    files: int


def reading_of(pid: int) -> Reading:
    """Return a reading of a process from /proc (proc_pid_status(5), proc_pid_fd(5))."""
    folder = Path(f"/proc/{pid}")
    lines = (folder / "status").read_text("ascii").splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return Reading(int(kilobytes) * 1024, sum(1 for _ in (folder / "fd").iterdir()))


@dataclass(frozen=True, slots=True)
class Phase:
    """The results of the honest clients in one phase, and the state of the process during it.

    `median` is the median time of an answer, in seconds. `failures` counts each kind of failure.
    """

    figures: Figures
    median: float
    failures: Mapping[str, int]
    readings: Sequence[Reading]

    def row(self, name: str) -> str:
        """Return a row of the table. `name` is the row's first cell."""
        told = self.figures
        share = f"{100 * told.hits / max(1, told.requests):.0f} %"
        times = [f"{1000 * seconds:.0f} ms" for seconds in (self.median, told.p99)]
        cells = [name, told.requests, told.failed, told.wrong, share, *times]
        return f"| {' | '.join(map(str, cells))} |"


def phase(
    samples: Sequence[Sample], begin: float, end: float, readings: Sequence[Reading]
) -> Phase:
    """Sum up the requests that began between `begin` and `end`."""
    some = [sample for sample in samples if begin <= sample.at < end]
    answered = [sample.seconds for sample in some if sample.is_answered]
    failures = [sample.failure for sample in some if not sample.is_answered]
    return Phase(
        figures(some, begin, end, known_only=False),
        float(np.median(answered)) if answered else float("nan"),
        {name: failures.count(name) for name in sorted(set(failures))},
        readings,
    )


def growth(readings: Sequence[Reading]) -> float:
    """Return the mean memory in the last fifth of a run, relative to that in the second fifth."""
    fifth = max(1, len(readings) // _FIFTHS)
    memory = [reading.memory for reading in readings]
    return float(np.mean(memory[-fifth:]) / np.mean(memory[fifth : 2 * fifth] or memory))


@dataclass(frozen=True, slots=True)
class Result:
    """Both phases, the attacks by kind, and the state of the process after the last attack."""

    quiet: Phase
    mixed: Phase
    attempts: Mapping[str, int]
    broken: Mapping[str, int]
    after: Reading

    @property
    def slower(self) -> float:
        """The p99 of the phase with hostile clients, divided by the p99 of the phase without."""
        return self.mixed.figures.p99 / self.quiet.figures.p99

    def objections(self) -> list[str]:
        """Return one line for each condition that the results do not meet."""
        found = []
        for name, part in (("quiet", self.quiet), ("mixed", self.mixed)):
            if not part.figures.requests:
                found.append(f"{name}: no requests")
            if part.figures.failed:
                found.append(f"{name}: {part.figures.failed} failed: {dict(part.failures)}")
            if part.figures.wrong:
                found.append(f"{name}: {part.figures.wrong} wrong")
        if not self.slower <= _MOST_SLOWER:  # not a number if nothing was answered
            found.append(f"p99 is {self.slower:.1f} times that of the quiet run")
        if not growth(self.mixed.readings) <= _MOST_GROWTH:
            found.append(f"memory has grown {growth(self.mixed.readings):.2f} times")
        found += [f"{kind}: {count} not made" for kind, count in self.broken.items()]
        return found

    def text(self, how: str) -> str:
        """Return the tables in Markdown, for docs/reliability.md. `how` is a line above them."""
        head = "| clients | requests | failed | wrong | hits | median | p99 |"
        phases = [head, _line(head), self.quiet.row("honest"), self.mixed.row("honest, hostile")]
        kinds = [f"| {kind} | {count} |" for kind, count in sorted(self.attempts.items())]
        attacks = ["| attack | times |", "|---|---|", *kinds]
        return "\n".join([how, "", *phases, "", *self._process(), "", *attacks, ""])

    def _process(self) -> list[str]:
        head = "| process | alone | after 10 % | halfway | at the end | most | afterwards |"
        mixed = self.mixed.readings
        places = [mixed[int(share * len(mixed))] for share in (_EARLY, _MIDDLE)]
        told = [self.quiet.readings[-1], *places, mixed[-1]]
        memory, files = ([getattr(r, of) for r in told] for of in ("memory", "files"))
        memory += [max(r.memory for r in mixed), self.after.memory]
        files += [max(r.files for r in mixed), self.after.files]
        written = " | ".join(f"{size / _MEGABYTE:.0f} MB" for size in memory)
        return [
            head,
            _line(head),
            f"| memory | {written} |",
            f"| open files | {' | '.join(map(str, files))} |",
        ]


def _line(head: str) -> str:
    """Return the line of dashes below `head`, the head of a table in Markdown."""
    return "|" + "---|" * (head.count("|") - 1)
