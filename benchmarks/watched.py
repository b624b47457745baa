"""Measure how reliable audits and shadow mode are, on labelled streams of hits and without models.

    python -m benchmarks.watched [--seeds 200] [--groups GROUPS.jsonl]

Hits are drawn at random from the groups that ship with Reprise. The upstream may give different
answers to the same question. A base rate says how often two of its answers differ. In some groups,
a hit by meaning gets the answer to a near miss: such a hit is wrong.

The hits are compared and counted by the same code as when serving, but without HTTP.
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
    """A hit: whether it is labelled as wrong, and how two answers compare.

    These answers are the one that the hit got and the one that the upstream gives now.
    """

    tier: Tier
    is_wrong: bool
    agreement: Agreement

    @property
    def is_found_wrong(self) -> bool:
        """Whether the comparison found a different fact in the two answers."""
        return self.agreement is Agreement.WRONG


class Stream:
    """Draws an endless sequence of hits.

    `base` is the share of cases in which two answers to the same question differ. `wrong` is the
    share of groups whose hits by meaning get the answer to a near miss.
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
        """Choose again the groups whose hits by meaning are wrong. `wrong` is their share."""
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
        """Return the stored answer. If it has expired, store a new one.

        `is_near` says whether the answer is to a near miss.
        """
        known = group, is_near
        if known not in self._stored or self._draw.random() < 1 / _PER_ANSWER:
            self._stored[known] = self._answer(group, is_near=is_near)
        return self._stored[known]

    def _answer(self, group: int, *, is_near: bool) -> str:
        """Return the answer that the upstream gives now.

        Answers state a fact. With the probability `_noise`, the fact is another one than usual.
        """
        asked = self._groups[group].near[0] if is_near else self._groups[group].wordings[0]
        fact = 1 + (2 * group + is_near) * (_OTHERS + 1)
        if self._draw.random() < self._noise:
            fact += 1 + int(self._draw.random() * _OTHERS)
        return f"{asked} {_WORDING[self._draw.random() < 1 / 2].format(fact)}"


def covers(groups: Sequence[Group], base: float, wrong: float, seed: int) -> tuple[bool, bool]:
    """Whether the intervals that `/cache/stats` shows contain the true share of wrong hits.

    The first result is for the interval from audits, the second for that from shadow mode.
    """
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
    """Return the number of audits after a drift that it takes to make hits by meaning stricter.

    A drift is a rise of the share of wrong hits to `wrong`. Only audits of hits by meaning count.
    Return None if too many audits are needed, or if hits became stricter before the drift.
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
    """Whether hits by meaning become stricter in a month without a reason.

    The share of wrong hits in this month is the share that the dial allows.
    """
    stream, known = Stream(groups, base, DIAL, seed), Evidence()
    for _, hit in zip(range(_MONTH), stream, strict=False):
        known = known.audited(hit.tier, DIAL, is_wrong=hit.is_found_wrong)
        if known.level:
            return True
    return False


def coverage(groups: Sequence[Group], seeds: int) -> str:
    """Return a table: how many runs had an interval that contains the true share."""
    rows = []
    for base in BASES:
        for wrong in WRONG:
            held = [covers(groups, base, wrong, seed) for seed in range(seeds)]
            shares = [str(Share(sum(column), seeds)) for column in zip(*held, strict=True)]
            rows.append([f"{base:.0%}", f"{wrong:.0%}", *shares])
    return table(["base rate", "wrong", "held by audits", "held by shadow"], rows)


def drifts(groups: Sequence[Group], seeds: int) -> str:
    """Return a table: how many audits of hits by meaning it took until hits became stricter."""
    rows = []
    for base in BASES:
        for wrong in DRIFTS:
            found = [audits_until_stricter(groups, base, wrong, seed) for seed in range(seeds)]
            took = [count for count in found if count is not None]
            told = [f"{median(took):.0f}", str(max(took))] if took else ["-", "-"]
            rows.append([f"{base:.0%}", f"{wrong:.0%}", *told, str(len(found) - len(took))])
    return table(["base rate", "wrong from now on", "audits, median", "most", "missed"], rows)


def alarms(groups: Sequence[Group], months: int) -> str:
    """Return a table: the false alarms in `months` months."""
    counts = [sum(is_alarmed(groups, base, seed) for seed in range(months)) for base in BASES]
    rows = [[f"{base:.0%}", str(months), str(n)] for base, n in zip(BASES, counts, strict=True)]
    return table(["base rate", "months", "false alarms"], rows)


def main() -> None:
    """Run the measurements with the options of the command line, and print the tables."""
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
