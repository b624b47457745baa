"""When audits make the cache stricter, and when they take that back: by laws and simulations."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.cache_status import Tier
from app.rules.auditing import Evidence, band_of, suggested_dial
from app.rules.caution import EXACT_ONLY

DIAL = 0.01
EXACT, SEMANTIC = Tier.EXACT, Tier.SEMANTIC


def control(base: float, draw: random.Random, count: int = 2048) -> Evidence:
    """Return what is known once exact hits were audited that are wrong as often as `base`."""
    known = Evidence()
    for _ in range(count):
        known = known.audited(EXACT, DIAL, is_wrong=draw.random() < base)
    return known


def seen(wrong: float, base: float) -> float:
    """Return how often a hit is found wrong if so many are, and the others by chance."""
    return 1 - (1 - wrong) * (1 - base)


def levels(known: Evidence, share: float, draw: random.Random) -> Iterator[Evidence]:
    """Audit hits by meaning of which a share is found wrong, for ever."""
    while True:
        known = known.audited(SEMANTIC, DIAL, is_wrong=draw.random() < share)
        yield known


@pytest.mark.parametrize(("base", "audits"), [(0.0, 100_000), (0.05, 20_000), (0.3, 20_000)])
def test_a_month_of_a_million_requests_without_drift_raises_no_alarm(
    base: float, audits: int
) -> None:
    """A tenth of them are hits by meaning, all audited, and as wrong as the dial allows."""
    draw = random.Random(7)
    known = control(base, draw)
    for _, known in zip(range(audits), levels(known, seen(DIAL, base), draw), strict=False):
        assert known.level == 0


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
    """In each of eight runs, also where all was well for long."""
    for seed in range(8):
        draw = random.Random(seed)
        known = control(base, draw)
        for _, known in zip(range(before), levels(known, seen(0.002, base), draw), strict=False):
            pass
        drifted = zip(range(within), levels(known, seen(wrong, base), draw), strict=False)
        assert any(known.level for _, known in drifted), seed


def test_the_worse_it_is_the_stricter_it_gets_at_once() -> None:
    draw = random.Random(1)
    assert next(k for k in levels(control(0, draw), 0.9, draw) if k.level).level == EXACT_ONLY
    assert next(k for k in levels(control(0, draw), 0.04, draw) if k.level).level == 1


def test_without_a_control_nothing_is_concluded() -> None:
    draw = random.Random(1)
    audits = zip(range(500), levels(Evidence(), 1.0, draw), strict=False)
    assert not any(known.level for _, known in audits)


def recovery(known: Evidence, wrong: float, base: float, most: int, seed: int = 3) -> int | None:
    """Return after how many that are kept back, wrong by so much, a level is taken back."""
    draw = random.Random(seed)
    for count in range(1, most + 1):
        level = known.level
        known = known.kept_back(DIAL, is_wrong=draw.random() < seen(wrong, base))
        if known.level < level:
            return count
    return None


@pytest.mark.parametrize("seed", range(10))
def test_it_recovers_by_evidence_and_not_while_mistakes_go_on(seed: int) -> None:
    draw = random.Random(seed)
    known = Evidence(2, control(0, draw).exact)
    assert (recovery(known, 0.0, 0.0, 400, seed) or 0) >= 100
    assert recovery(known, 0.05, 0.0, 5000, seed) is None


def test_a_level_is_taken_back_only_one_at_a_time_and_forgets_what_led_to_it() -> None:
    known = Evidence(2, control(0, random.Random(1)).exact)
    for _ in range(400):
        known = known.kept_back(DIAL, is_wrong=False)
        if known.level < 2:
            break
    assert (known.level, known.held.length, known.served.length) == (1, 0, 0)


@given(st.lists(st.tuples(st.sampled_from(["exact", "semantic", "held"]), st.booleans())))
def test_it_is_never_looser_than_the_operator_asks(told: list[tuple[str, bool]]) -> None:
    known = Evidence()
    for kind, is_wrong in told:
        if kind == "held":
            known = known.kept_back(DIAL, is_wrong=is_wrong)
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
