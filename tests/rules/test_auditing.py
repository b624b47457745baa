"""When audits raise the level of caution and when they lower it, by laws and simulations."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.cache_status import Tier
from app.rules.auditing import Evidence, band_of, suggested_dial
from app.rules.caution import EXACT_ONLY

DIAL = 0.01
EXACT, SEMANTIC = Tier.EXACT, Tier.SEMANTIC


def control(base: float, draw: np.random.Generator, count: int = 2048) -> Evidence:
    """Return the evidence from `count` audits of exact hits. The share `base` is found wrong."""
    known = Evidence()
    for _ in range(count):
        known = known.audited(EXACT, DIAL, is_wrong=draw.random() < base)
    return known


def seen(wrong: float, base: float) -> float:
    """Return the share of hits found wrong: `wrong`, and `base` of the others by chance."""
    return 1 - (1 - wrong) * (1 - base)


def levels(known: Evidence, share: float, draw: np.random.Generator) -> Iterator[Evidence]:
    """Audit hits by meaning for ever. Yield the evidence after each; a share is found wrong."""
    while True:
        known = known.audited(SEMANTIC, DIAL, is_wrong=draw.random() < share)
        yield known


@pytest.mark.parametrize(("base", "audits"), [(0.0, 100_000), (0.05, 20_000), (0.3, 20_000)])
def test_a_month_of_a_million_requests_without_drift_raises_no_alarm(
    base: float, audits: int
) -> None:
    """A tenth of the requests are hits by meaning. All are audited; the dial's share is wrong."""
    draw = np.random.default_rng(7)
    found = levels(control(base, draw), seen(DIAL, base), draw)
    assert not any(next(found).level for _ in range(audits))


@pytest.mark.parametrize(
    ("base", "wrong", "within"),
    [
        (0.0, 0.5, 64),
        (0.0, 0.2, 200),
        (0.0, 0.1, 600),
        (0.0, 0.05, 2500),
        (0.05, 0.2, 600),
        (0.3, 0.3, 1500),
    ],
)
@pytest.mark.parametrize("before", [0, 1500])
def test_drift_is_answered_within_so_many_audits(
    base: float, wrong: float, within: int, before: int
) -> None:
    """This holds in each of eight runs, even after a long time without drift."""
    for seed in range(8):
        draw = np.random.default_rng(seed)
        known = control(base, draw)
        good = levels(known, seen(0.002, base), draw)
        for _ in range(before):
            known = next(good)
        bad = levels(known, seen(wrong, base), draw)
        assert any(next(bad).level for _ in range(within)), seed


def test_the_worse_it_is_the_stricter_it_gets_at_once() -> None:
    draw = np.random.default_rng(1)
    assert next(k for k in levels(control(0, draw), 0.9, draw) if k.level).level == EXACT_ONLY
    assert next(k for k in levels(control(0, draw), 0.04, draw) if k.level).level == 1


def test_without_a_control_nothing_is_concluded() -> None:
    draw = np.random.default_rng(1)
    found = levels(Evidence(), 1.0, draw)
    assert not any(next(found).level for _ in range(500))


def recovery(known: Evidence, wrong: float, base: float, most: int, seed: int = 3) -> int | None:
    """Return how many hits are kept back until the level falls; None if `most` are not enough.

    `wrong` is the share of these hits that are wrong.
    """
    draw = np.random.default_rng(seed)
    for count in range(1, most + 1):
        level = known.level
        known = known.kept_back(DIAL, is_wrong=draw.random() < seen(wrong, base), is_next=True)
        if known.level < level:
            return count
    return None


@pytest.mark.parametrize("seed", range(10))
def test_it_recovers_by_evidence_and_not_while_mistakes_go_on(seed: int) -> None:
    draw = np.random.default_rng(seed)
    known = Evidence(2, control(0, draw).exact)
    assert (recovery(known, 0.0, 0.0, 400, seed) or 0) >= 100
    assert recovery(known, 0.05, 0.0, 5000, seed) is None


def test_a_level_is_taken_back_only_one_at_a_time_and_forgets_what_led_to_it() -> None:
    known = Evidence(2, control(0, np.random.default_rng(1)).exact)
    for count in range(400):
        known = known.kept_back(DIAL, is_wrong=False, is_next=count % 2 == 0)
        if known.level < 2:
            break
    assert (known.level, known.held.length, known.served.length) == (1, 0, 0)


@given(st.lists(st.tuples(st.sampled_from(["exact", "semantic", "held", "next"]), st.booleans())))
def test_it_is_never_looser_than_the_operator_asks(told: list[tuple[str, bool]]) -> None:
    known = Evidence()
    for kind, is_wrong in told:
        if kind in {"held", "next"}:
            known = known.kept_back(DIAL, is_wrong=is_wrong, is_next=kind == "next")
        else:
            known = known.audited(Tier(kind), DIAL, is_wrong=is_wrong)
        assert 0 <= known.level <= EXACT_ONLY
        assert known.served.wrong() <= known.served.length


@pytest.mark.parametrize(
    ("distance", "band"), [(None, ""), (0.0, "0.02"), (0.02, "0.02"), (0.021, "0.05"), (1.5, "2")]
)
def test_a_distance_falls_into_a_band(distance: float | None, band: str) -> None:
    assert band_of(distance) == band


@pytest.mark.parametrize(
    ("low", "high", "dial"),
    [(0.0, 0.04, 0.01), (0.01, 0.02, 0.01), (0.015, 0.025, 0.005), (0.3, 0.7, 0.0002)],
)
def test_only_a_stricter_dial_is_suggested(low: float, high: float, dial: float) -> None:
    assert suggested_dial(DIAL, low, high) == dial


def test_what_no_level_in_between_serves_lifts_caution_as_well() -> None:
    known = Evidence(3, control(0, np.random.default_rng(1)).exact)
    for _ in range(3 * 400):
        known = known.kept_back(DIAL, is_wrong=False, is_next=False)
    assert known.level == 0


def test_mistakes_further_away_do_not_hold_up_what_is_near_and_right() -> None:
    known = Evidence(3, control(0, np.random.default_rng(1)).exact)
    for count in range(800):
        known = known.kept_back(DIAL, is_wrong=count % 2 == 0, is_next=count % 2 == 1)
        if known.level < 3:
            break
    assert known.level == 2
