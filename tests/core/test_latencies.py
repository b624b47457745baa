"""Percentiles of the latest durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.latencies import Latencies


def test_percentiles_are_durations_that_were_measured() -> None:
    latencies = Latencies()
    for milliseconds in range(1, 101):
        latencies.add("miss", milliseconds / 1000)
    latencies.add("exact", 0.0015)
    assert latencies.percentiles() == {
        "exact": {"of": 1, "p50": 1.5, "p90": 1.5, "p99": 1.5},
        "miss": {"of": 100, "p50": 50.0, "p90": 90.0, "p99": 99.0},
    }


def test_old_durations_give_way() -> None:
    latencies = Latencies()
    for seconds in (*[9.0] * 500, *[1.0] * 1000):
        latencies.add("miss", seconds)
    assert latencies.percentiles()["miss"] == {"of": 1000, "p50": 1000, "p90": 1000, "p99": 1000}


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_percentiles_rise_within_what_was_measured(seconds: list[float]) -> None:
    latencies = Latencies()
    for one in seconds:
        latencies.add("hit", one)
    told = latencies.percentiles()["hit"]
    ordered = [1000 * min(seconds), told["p50"], told["p90"], told["p99"], 1000 * max(seconds)]
    assert ordered == pytest.approx(sorted(ordered), abs=0.01)
