"""Shares, the intervals of shares, and how reports show both."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tools.statistics import Groups, Report, Share, Table, table


@st.composite
def shares(draw: st.DrawFn) -> Share:
    of = draw(st.integers(1, 10**9))
    return Share(draw(st.integers(0, of)), of)


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [
        # R. G. Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_the_published_one(count: int, of: int, low: float, high: float) -> None:
    assert Share(count, of).interval == pytest.approx((low, high), abs=5e-5)


def test_of_nothing_nothing_is_known() -> None:
    assert Share(0, 0).value is None
    assert Share(0, 0).interval == (0.0, 1.0)
    assert str(Share(0, 0)) == "-"


@given(shares())
def test_the_interval_holds_the_share_and_only_shares(share: Share) -> None:
    low, high = share.interval
    assert share.value is not None
    assert 0.0 <= low <= share.value <= high <= 1.0
    assert low < high


@given(shares(), st.integers(2, 1000))
def test_the_interval_narrows_as_more_is_counted(share: Share, times: int) -> None:
    low, high = share.interval
    narrow_low, narrow_high = Share(share.count * times, share.of * times).interval
    assert narrow_high - narrow_low < high - low


@given(shares())
def test_the_interval_of_the_rest_is_its_mirror(share: Share) -> None:
    low, high = share.interval
    assert Share(share.of - share.count, share.of).interval == pytest.approx((1 - high, 1 - low))


REPORT = Report(
    file="a.jsonl",
    counts={"requests": 4, "ideal_hits": 2},
    figures=Table(
        columns=["distance", "hit_rate"],
        rows=[
            {"distance": 0.05, "hit_rate": Share(0, 0), "latency_ms": None},
            {"distance": 0.1, "hit_rate": Share(1, 4), "latency_ms": 1.5},
        ],
    ),
)
JUDGED = replace(
    REPORT,
    guards=Table(["guard", "fired"], [{"guard": "numbers", "fired": 3}]),
    examples=["one of them"],
)


def test_a_report_is_a_table_for_people() -> None:
    assert str(REPORT).splitlines() == [
        "a.jsonl: 4 requests, 2 ideal hits",
        "distance             hit rate",
        "    0.05                    -",
        "     0.1   25.0 % [4.6, 69.9]",
    ]


def test_a_report_is_a_document_for_machines() -> None:
    nothing = {"count": 0, "of": 0, "share": None, "low": 0.0, "high": 1.0}
    low, high = Share(1, 4).interval
    quarter = {"count": 1, "of": 4, "share": 0.25, "low": low, "high": high}
    assert json.loads(json.dumps(REPORT.document())) == {
        "file": "a.jsonl",
        "requests": 4,
        "ideal_hits": 2,
        "rows": [
            {"distance": 0.05, "hit_rate": nothing, "latency_ms": None},
            {"distance": 0.1, "hit_rate": quarter, "latency_ms": 1.5},
        ],
    }


def test_what_is_told_of_guards_follows() -> None:
    assert str(JUDGED).splitlines()[4:] == [
        "",
        "  guard   fired",
        "numbers       3",
        "",
        "one of them",
    ]
    document = JUDGED.document()
    assert (document["guards"], document["examples"]) == (
        [{"guard": "numbers", "fired": 3}],
        ["one of them"],
    )


def test_the_columns_of_a_table_are_as_wide_as_they_must_be() -> None:
    assert table(["a", "long"], [["wide", "b"], ["c", "d"]]).splitlines() == [
        "   a   long",
        "wide      b",
        "   c      d",
    ]


def test_a_share_over_groups_is_as_wide_as_its_groups_differ() -> None:
    of_items = np.repeat(np.arange(20), 10)
    everything = np.ones(200, bool)
    by_group = Groups(of_items, 20).share(of_items < 10, everything)  # all or none of a group
    mixed = Groups(of_items, 20).share(np.arange(200) % 2 == 0, everything)  # half of each
    assert (by_group.count, by_group.of, mixed.count) == (100, 200, 100)
    low, high = by_group.interval
    # Twenty draws of all or none: 1.96 * sqrt(0.25 / 20) to either side.
    assert (low, high) == pytest.approx((0.28, 0.72), abs=0.03)
    assert mixed.interval == pytest.approx(Share(100, 200).interval)
    assert str(mixed) == "100/200 50.0 % [43.1, 56.9]"


def test_of_nothing_and_of_none_in_groups_the_interval_is_wilsons() -> None:
    groups = Groups(np.arange(50), 50)
    nothing, all_ = np.zeros(50, bool), np.ones(50, bool)
    assert groups.share(nothing, all_).interval == Share(0, 50).interval
    assert groups.share(nothing, nothing).interval == (0.0, 1.0)
    assert str(groups.share(nothing, nothing)) == "-"


def test_the_same_items_have_the_same_interval() -> None:
    of_items, counted = np.arange(30) % 7, np.arange(30) % 3 == 0
    shares = [Groups(of_items, 7).share(counted, np.ones(30, bool)) for _ in range(2)]
    assert shares[0] == shares[1]


@pytest.mark.parametrize(
    ("ranks", "positive", "area"),
    [
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1], 1.0),
        ([1.0, 2.0, 3.0, 4.0], [1, 1, 0, 0], 0.0),
        ([1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1], 0.75),
        ([1.0, 1.0, 1.0], [0, 1, 0], 0.5),
        ([-np.inf, 2.0], [0, 1], 1.0),
    ],
)
def test_the_area_counts_pairs_in_order(
    ranks: list[float], positive: list[int], area: float
) -> None:
    items = np.arange(len(ranks))
    found = Groups(items, len(ranks)).auc(np.array(ranks), np.array(positive, bool))
    assert found.value == area
    assert 0 <= found.low <= area <= found.high <= 1


def test_of_one_kind_there_is_no_area() -> None:
    found = Groups(np.arange(3), 3).auc(np.arange(3.0), np.ones(3, bool))
    assert (found.value, str(found)) == (None, "-")
