"""Shares and areas under curves, with their confidence intervals, and tables and reports."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.core.shares import NORMAL_95, wilson
from app.dialects.strict_json import JsonObject
from app.tools.curves import Curve

_GAP = "   "
_ROUNDS = 2000
_TAILS = (2.5, 97.5)  # percent

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of items: `count` of `of` items in total."""

    count: int
    of: int

    @property
    def value(self) -> float | None:
        """The share, from 0 to 1; None if `of` is 0."""
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % confidence interval of the share."""
        return self.within(NORMAL_95)

    def within(self, deviations: float) -> tuple[float, float]:
        """Return Wilson's interval for a number of standard deviations, such as 1.96 for 95 %."""
        return wilson(self.count, self.of, deviations)

    def document(self) -> JsonObject:
        """Return all figures as JSON values."""
        low, high = self.interval
        return {"count": self.count, "of": self.of, "share": self.value, "low": low, "high": high}

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        low, high = self.interval
        return f"{100 * self.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass(frozen=True, slots=True)
class GroupedShare(Share):
    """A share of items in groups of similar items; `reach` is its 95 % interval."""

    reach: tuple[float, float]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, computed by the bootstrap over groups."""
        return self.reach

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        low, high = self.interval
        return (
            f"{self.count}/{self.of} {100 * self.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        )


@dataclass(frozen=True, slots=True)
class Area:
    """The area under a ROC curve and its 95 % interval.

    `value`: the area, from 0 to 1; None if all items are positive, or all negative.
    """

    value: float | None
    low: float
    high: float

    def document(self) -> JsonObject:
        """Return all figures as JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Groups:
    """Computes intervals by the bootstrap: groups of items are drawn with replacement.

    Source: B. Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979. Efron draws single
    items; this class draws groups. `of_items` has for each item the index of its group. `groups` is
    the number of groups. The draws are the same in each run.
    """

    def __init__(self, of_items: Ints, groups: int) -> None:
        self._of_items = of_items
        self._groups = groups
        draw = np.random.default_rng(0)
        self._weights = draw.multinomial(groups, np.full(groups, 1 / groups), size=_ROUNDS)

    def share(self, counted: Flags, among: Flags) -> GroupedShare:
        """Return the share of the items in `among` that are also in `counted`, with its interval.

        The interval is at least as wide as Wilson's. A share of 0 or 1 is the same in all draws.
        For such a share, the bootstrap alone would give an interval without width.
        """
        counts, ofs = (
            np.bincount(self._of_items[chosen], minlength=self._groups)
            for chosen in (counted & among, among)
        )
        plain = Share(int(counts.sum()), int(ofs.sum()))
        low, high = plain.interval
        drawn = self._weights @ ofs
        if (drawn > 0).any():
            shares = (self._weights @ counts)[drawn > 0] / drawn[drawn > 0]
            least, most = np.percentile(shares, _TAILS).tolist()
            low, high = min(low, least), max(high, most)
        return GroupedShare(plain.count, plain.of, (low, high))

    def auc(self, ranks: Floats, positive: Flags) -> Area:
        """Return the area under the ROC curve, with its interval.

        A pair is a positive item and a negative item. The area is the share of pairs whose positive
        item has the higher rank. A pair with equal ranks counts half.
        """
        values, places = np.unique(ranks, return_inverse=True)
        ones = np.ones(self._groups)
        area = self._area(places, len(values), positive, ones)
        if math.isnan(area):
            return Area(None, 0.0, 1.0)
        drawn = [self._area(places, len(values), positive, weights) for weights in self._weights]
        low, high = np.nanpercentile(drawn, _TAILS).tolist()
        return Area(area, low, high)

    def _area(self, places: Ints, values: int, positive: Flags, weights: Floats) -> float:
        weights = weights[self._of_items]
        right, wrong = (
            np.bincount(places, np.where(chosen, weights, 0), minlength=values)
            for chosen in (positive, ~positive)
        )
        of = right.sum() * wrong.sum()
        above = (right * (np.cumsum(wrong) - wrong / 2)).sum()
        return float(above / of) if of else math.nan


Row = Mapping[str, str | float | Share | Area | None]
"""Figures by name."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table. Each row maps names to figures. `columns` has the names of the figures to print."""

    columns: Sequence[str]
    rows: Sequence[Row]

    def document(self) -> list[JsonObject]:
        """Return all figures as JSON values."""
        return [
            {n: v.document() if isinstance(v, Share | Area) else v for n, v in row.items()}
            for row in self.rows
        ]

    def __str__(self) -> str:
        rows = [[_cell(row[column]) for column in self.columns] for row in self.rows]
        return table([_words(name) for name in self.columns], rows)


@dataclass(frozen=True, slots=True)
class Report:
    """The results for one file.

    `counts`: figures of the whole file. `figures`: a row for each stage and threshold. `guards`: a
    row for each guard. `examples`: lines of text to print. `curves`: the curve of each stage.
    """

    file: str
    counts: Mapping[str, int]
    figures: Table
    guards: Table | None = None
    examples: Sequence[str] = ()
    curves: Sequence[Curve] = ()

    def document(self) -> JsonObject:
        """Return all figures as JSON values."""
        guards = {"guards": self.guards.document()} if self.guards else {}
        examples = {"examples": [*self.examples]} if self.examples else {}
        rows = {"rows": self.figures.document()}
        return {"file": self.file, **self.counts, **rows, **guards, **examples}

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {_words(name)}" for name, count in self.counts.items())
        blocks = [f"{self.file}: {counts}\n{self.figures}\n"]
        if self.guards and self.guards.rows:
            blocks.append(f"{self.guards}\n")
        if self.examples:
            blocks.append("\n".join(self.examples) + "\n")
        return "\n".join(blocks)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text, with right-aligned columns of minimal width."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        _GAP.join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _cell(value: str | float | Share | Area | None) -> str:
    return "-" if value is None else str(value)


def _words(name: str) -> str:
    return name.replace("_", " ")
