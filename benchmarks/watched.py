"""Tell how far audits and shadow mode can be trusted: labelled streams, many seeds, no model.

    python -m benchmarks.watched [--seeds 200] [--groups GROUPS.jsonl]

Hits are drawn from the groups that ship. The upstream's answers to one question differ from run to
run, as often as a base rate says. Hits by meaning of some groups get a near miss's answer: these
are wrong. What compares, counts and concludes is the code that serves, without HTTP.
"""

import argparse
import functools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from app.core.cache_status import Tier
from app.core.tally import Tally
from app.engine.audits import audited_sum, compared_sum
from app.engine.findings import audited, compared
from app.matching.comparison import Agreement, compare
from app.rules.auditing import Evidence
from app.tools.groups import BENCHMARK, Group, read_groups
from app.tools.statistics import Share, table

BASES = (0.0, 0.05, 0.3)
WRONG = (0.0, 0.01, 0.05, 0.2)
DRIFTS = (0.5, 0.2, 0.1, 0.05)
DIAL = 0.01

_RUN = 1000  # hits that are compared in a run, half of them by meaning
_BEFORE = 4000  # hits that are audited before the drift, half of them by meaning
_MONTH = 20_000  # audits: 2 % of the hits of a million requests, if all of them hit
_WITHIN = 5000  # audits by meaning after a drift; one not answered by then is missed
_PER_ANSWER = 2  # how often a stored answer is compared, on average, before it expires
_OTHERS = 3  # other facts that an answer may state
_WORDING = ("It takes {} days.", "You have to wait for {} days.")
_compare = functools.cache(compare)


@dataclass(frozen=True, slots=True)
class Hit:
    """A hit, whether the meaning of its answer is wrong by label, and how the texts compare."""

    tier: Tier
    is_wrong: bool
    agreement: Agreement

    @property
    def is_found_wrong(self) -> bool:
        """Whether the comparison shows a fact that differs."""
        return self.agreement is Agreement.WRONG


class Stream:
    """Draws hits for ever. `base` is how often two answers to the same question differ.

    By meaning, a share of the groups, `wrong`, gets the answer to a near miss.
    """

    def __init__(self, groups: Sequence[Group], base: float, wrong: float, seed: int) -> None:
        self._draw = random.Random(seed)  # noqa: S311
        self._groups = groups
        self._noise = 1 - math.sqrt(1 - base)  # two answers agree if neither is another one
        self._stored: dict[tuple[int, bool], str] = {}
        self._confused = frozenset[int]()
        self.confuse(wrong)

    @property
    def wrong(self) -> float:
        """The true share of hits by meaning that are wrong."""
        return len(self._confused) / len(self._groups)

    def confuse(self, wrong: float) -> None:
        """Choose the groups whose hits by meaning are wrong from now on."""
        able = [number for number, group in enumerate(self._groups) if group.near]
        count = round(wrong * len(self._groups))
        self._confused = frozenset(self._draw.sample(able, count))

    def __iter__(self) -> Iterator[Hit]:
        while True:
            group = int(self._draw.random() * len(self._groups))
            tier = Tier.EXACT if self._draw.random() < 1 / 2 else Tier.SEMANTIC
            is_wrong = tier is Tier.SEMANTIC and group in self._confused
            stored = self._stored_for(group, is_near=is_wrong)
            yield Hit(tier, is_wrong, _compare(stored, self._answer(group, is_near=False)))

    def _stored_for(self, group: int, *, is_near: bool) -> str:
        """Return the stored answer; one that has expired is replaced by a new one."""
        known = group, is_near
        if known not in self._stored or self._draw.random() < 1 / _PER_ANSWER:
            self._stored[known] = self._answer(group, is_near=is_near)
        return self._stored[known]

    def _answer(self, group: int, *, is_near: bool) -> str:
        """Return what the upstream says now; its fact is another one as often as the noise says."""
        asked = self._groups[group].near[0] if is_near else self._groups[group].wordings[0]
        fact = 1 + (2 * group + is_near) * (_OTHERS + 1)
        if self._draw.random() < self._noise:
            fact += 1 + int(self._draw.random() * _OTHERS)
        return f"{asked} {_WORDING[self._draw.random() < 1 / 2].format(fact)}"


def covers(groups: Sequence[Group], base: float, wrong: float, seed: int) -> tuple[bool, bool]:
    """Whether the intervals that `/cache/stats` shows hold the truth: of audits, and of shadow."""
    stream, tally = Stream(groups, base, wrong, seed), Tally()
    for _, hit in zip(range(_RUN), stream, strict=False):
        band = "0.1" if hit.tier is Tier.SEMANTIC else ""
        tally.add(audited_sum(hit.tier, band, hit.agreement))
        tally.add(compared_sum(hit.tier, hit.agreement))
    found = audited(tally.own)["excess_wrong"], compared(tally.own)["excess_wrong"]
    held = [told["low"] <= stream.wrong <= told["high"] for told in found]
    return held[0], held[1]


def audits_until_stricter(
    groups: Sequence[Group], base: float, wrong: float, seed: int
) -> int | None:
    """Return how many audits of hits by meaning after a drift make these stricter; None: too many.

    Also None if they became stricter before it.
    """
    stream, known, looks = Stream(groups, base, 0.002, seed), Evidence(), 0
    for count, hit in enumerate(stream):
        if count == _BEFORE:
            if known.level:
                return None
            stream.confuse(wrong)
        known = known.audited(hit.tier, DIAL, is_wrong=hit.is_found_wrong)
        looks += count >= _BEFORE and hit.tier is Tier.SEMANTIC
        if count >= _BEFORE and known.level:
            return looks
        if looks >= _WITHIN:
            return None
    return None


def is_alarmed(groups: Sequence[Group], base: float, seed: int) -> bool:
    """Whether a month in which no more is wrong than the dial allows makes hits stricter."""
    stream, known = Stream(groups, base, DIAL, seed), Evidence()
    for _, hit in zip(range(_MONTH), stream, strict=False):
        known = known.audited(hit.tier, DIAL, is_wrong=hit.is_found_wrong)
        if known.level:
            return True
    return False


def coverage(groups: Sequence[Group], seeds: int) -> str:
    """Return a table of how many runs had an interval that holds the true share."""
    rows = []
    for base in BASES:
        for wrong in WRONG:
            held = [covers(groups, base, wrong, seed) for seed in range(seeds)]
            shares = [str(Share(sum(column), seeds)) for column in zip(*held, strict=True)]
            rows.append([f"{base:.0%}", f"{wrong:.0%}", *shares])
    return table(["base rate", "wrong", "held by audits", "held by shadow"], rows)


def drifts(groups: Sequence[Group], seeds: int) -> str:
    """Return a table of how many audits of hits by meaning it took to answer a drift."""
    rows = []
    for base in BASES:
        for wrong in DRIFTS:
            found = [audits_until_stricter(groups, base, wrong, seed) for seed in range(seeds)]
            took = [count for count in found if count is not None]
            told = [f"{median(took):.0f}", str(max(took))] if took else ["-", "-"]
            rows.append([f"{base:.0%}", f"{wrong:.0%}", *told, str(len(found) - len(took))])
    return table(["base rate", "wrong from now on", "audits, median", "most", "missed"], rows)


def alarms(groups: Sequence[Group], months: int) -> str:
    """Return a table of the false alarms in so many months."""
    counts = [sum(is_alarmed(groups, base, seed) for seed in range(months)) for base in BASES]
    rows = [[f"{base:.0%}", str(months), str(n)] for base, n in zip(BASES, counts, strict=True)]
    return table(["base rate", "months", "false alarms"], rows)


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--groups", type=Path, default=BENCHMARK)
    given = parser.parse_args()
    groups = read_groups(given.groups)
    for told in (coverage(groups, given.seeds), drifts(groups, given.seeds // 4)):
        print(f"{told}\n", flush=True)
    print(alarms(groups, given.seeds // 4))


if __name__ == "__main__":
    main()
