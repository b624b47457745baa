"""`python -m benchmarks.watched`, with only a few seeds."""

from itertools import islice

import pytest

from app.core.cache_status import Tier
from app.tools.groups import BENCHMARK, read_groups
from benchmarks.watched import Stream, audits_until_stricter, covers, is_alarmed

GROUPS = read_groups(BENCHMARK)[:60]


@pytest.mark.parametrize(("base", "wrong"), [(0.0, 0.05), (0.05, 0.2), (0.3, 0.05)])
def test_what_is_published_holds_the_true_share_of_labelled_hits(base: float, wrong: float) -> None:
    held = [covers(GROUPS, base, wrong, seed) for seed in range(20)]
    by_audits, in_shadow = (sum(column) for column in zip(*held, strict=True))
    assert min(by_audits, in_shadow) >= 19


def test_a_drift_is_answered_and_its_absence_raises_no_alarm() -> None:
    took = [audits_until_stricter(GROUPS, 0.05, 0.5, seed) for seed in range(3)]
    assert all(count is not None and 32 <= count <= 128 for count in took)
    assert not is_alarmed(GROUPS, 0.05, seed=1)


def test_answers_differ_as_often_as_the_base_rate_says_and_labels_tell_the_wrong_ones() -> None:
    hits = list(islice(Stream(GROUPS, base=0.3, wrong=0.2, seed=1), 4000))
    exact = [hit.is_found_wrong for hit in hits if hit.tier is Tier.EXACT]
    assert sum(exact) / len(exact) == pytest.approx(0.3, abs=0.04)
    by_meaning = [hit for hit in hits if hit.tier is Tier.SEMANTIC]
    wrong = [hit for hit in by_meaning if hit.is_wrong]
    assert len(wrong) / len(by_meaning) == pytest.approx(0.2, abs=0.04)
    assert all(hit.is_found_wrong for hit in wrong)
