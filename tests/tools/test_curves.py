import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tools.curves import Curve, csv_of, curve


def test_a_curve_gives_the_greatest_recall_for_each_share_of_wrong() -> None:
    ranked = [(0.1, True), (0.2, False), (0.3, True), (0.4, True), (0.5, False)]
    assert curve("any", ranked, 4).points == [(0.0, 0.25), (0.25, 0.75)]


def test_what_ranks_the_same_is_served_together() -> None:
    assert curve("any", [(0.1, True), (0.1, False)], 1).points == [(0.5, 1.0)]
    assert curve("any", [(0.1, False), (0.1, True)], 1).points == [(0.5, 1.0)]


@pytest.mark.parametrize("ranked", [[], [(0.1, False)]])
def test_where_nothing_is_right_nothing_is_recalled(ranked: list[tuple[float, bool]]) -> None:
    assert not [recall for _, recall in curve("any", ranked, 0).points if recall]


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans())), st.integers(0, 5))
def test_a_curve_rises_and_stays_within_the_square(
    ranked: list[tuple[float, bool]], missed: int
) -> None:
    positives = sum(is_right for _, is_right in ranked) + missed
    points = curve("any", ranked, positives).points
    for shares in zip(*points, strict=True):
        assert list(shares) == sorted(set(shares))
        assert all(0 <= share <= 1 for share in shares)


def test_a_file_s_curves_are_told_point_by_point() -> None:
    curves = [Curve("distance", [(0.0, 0.5), (0.1, 1.0)]), Curve("all", [])]
    rows = list(csv.DictReader(csv_of([("a,b.jsonl", curves), ("c.jsonl", [])]).splitlines()))
    assert rows == [
        {"file": "a,b.jsonl", "stage": "distance", "wrong_share": x, "recall": y}
        for x, y in (("0.000000", "0.500000"), ("0.100000", "1.000000"))
    ]
