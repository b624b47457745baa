"""Compares the numbers and units of two texts. Quantities that both texts have are left out."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from decimal import Decimal

from app.matching.guards.evidence import CLOCK, Evidence, Quantity, in_base_unit

_FEW = 10


def cancelled(
    left: Sequence[Quantity], right: Sequence[Quantity], what: Callable[[Quantity], object]
) -> tuple[list[Quantity], list[Quantity]]:
    """Return both lists without the quantities that they have in common.

    A quantity in `left` and one in `right` are removed together if `what` returns equal values for
    them.
    """
    both = Counter(map(what, left)) & Counter(map(what, right))
    return _without(left, what, both), _without(right, what, both)


def _without(
    quantities: Sequence[Quantity], what: Callable[[Quantity], object], taken: Counter[object]
) -> list[Quantity]:
    missing, left = Counter(taken), []
    for quantity in quantities:
        if missing[what(quantity)]:
            missing[what(quantity)] -= 1
        else:
            left.append(quantity)
    return left


def measure_the_same(left: Sequence[Quantity], right: Sequence[Quantity]) -> bool:
    """Whether both lists have a number of the same kind: of length, of time, or without a unit.

    Numbers below 10 without a unit do not count, because another wording may have no number at all:
    `two dice`, `a pair of dice`.
    """
    bases = [
        {in_base_unit(quantity)[0] for quantity in side if quantity.unit or quantity.value >= _FEW}
        for side in (left, right)
    ]
    return not bases[0].isdisjoint(bases[1])


def have_other_units(one: Evidence, other: Evidence) -> bool:
    """Whether two texts have the same number with different units: `5 km`, `5 miles`."""
    a, b = _units_of(one), _units_of(other)
    return any(
        _has_another_unit(value, a[value], b[value]) or _has_another_unit(value, b[value], a[value])
        for value in a.keys() & b.keys()
    )


def _units_of(text: Evidence) -> Mapping[Decimal, Set[str]]:
    """Return the units of each number in a text. The unit of a number without a unit is ''."""
    units: defaultdict[Decimal, set[str]] = defaultdict(set)
    for quantity in text.quantities:
        units[quantity.value].add(quantity.unit)
    return units


def _has_another_unit(value: Decimal, units: Set[str], others: Set[str]) -> bool:
    """Whether `value` in one of `units` differs from `value` in each of the units `others`.

    Example: the result is True for 5, kilometres and miles, since 5 km are not 5 miles.
    In `units`, the empty unit and the unit of a time of day do not count. If `others` has one of
    these two units, the result is False.
    """
    if "" in others or CLOCK in others:
        return False
    bases = {in_base_unit(Quantity(value, other)) for other in others}
    return any(in_base_unit(Quantity(value, u)) not in bases for u in units - {"", CLOCK})
