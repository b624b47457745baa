"""Tables by section: RFC 9111 §5.2.1 (request directives), RFC 5861 §3 and §4 (stale answers)."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.models import CacheKey, Header, StoredResponse
from app.rules import freshness
from app.rules.headers import CacheControl, cache_control
from app.rules.limits import Limits
from app.rules.time_bound import TimeBound

NOW = 1_700_000_000.0
LIMITS = Limits(stale_while_revalidate=60, stale_if_error=600)


def aged(age: float, *, lifetime: float = 100, stale: float = 600) -> StoredResponse:
    key = CacheKey("p", "d", "text")
    return StoredResponse(key, "m", b"{}", NOW - age, lifetime, stale_lifetime=stale)


def said(line: str) -> CacheControl:
    return cache_control([(b"cache-control", line.encode())] if line else [])


def verdict(age: float, line: str, limits: Limits = LIMITS) -> str:
    """Tell when a response of this age, which is fresh for 100 s, may be served."""
    stored, control = aged(age), said(line)
    if freshness.may_answer(stored, control, NOW):
        return "fresh"
    if freshness.may_answer_stale(stored, control, limits, NOW):
        return "stale"
    return "on error" if freshness.may_stand_in(stored, control, limits, NOW) else "never"


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        *((0, "fresh"), (99.9, "fresh"), (100, "stale"), (160, "stale")),
        *((160.1, "on error"), (699.9, "on error"), (700, "never")),
    ],
)
def test_rfc_5861_3_and_4_the_windows_of_the_operator(age: float, expected: str) -> None:
    assert verdict(age, "") == expected


@pytest.mark.parametrize("age", [100, 100.1, 101, 1e6])
def test_without_windows_nothing_serves_stale(age: float) -> None:
    for line in ("", "max-stale", "max-stale=1000", "stale-if-error=1000"):
        assert verdict(age, line, Limits()) == "never"


@pytest.mark.parametrize(
    ("age", "line", "expected"),
    [
        (50, "max-age=50", "fresh"),
        (51, "max-age=50", "never"),
        (0, "max-age=0", "fresh"),
        (1, "max-age=0", "never"),
        (50, "max-age=soon", "never"),
        (101, "max-age=1000", "never"),  # no wish for a stale one without max-stale
        (101, "max-age=1000, max-stale=5", "stale"),
        (101, "max-age=50, max-stale=5", "never"),
    ],
)
def test_rfc_9111_5_2_1_1_max_age(age: float, line: str, expected: str) -> None:
    assert verdict(age, line) == expected


@pytest.mark.parametrize(
    ("age", "line", "expected"),
    [
        (105, "max-stale=5", "stale"),
        (106, "max-stale=5", "never"),  # though the operator's window is longer
        (300, "max-stale=1000", "stale"),  # as far as the longest window
        (300, "max-stale", "stale"),
        (699, "max-stale", "stale"),
        (700, "max-stale", "never"),
        (101, "max-stale=0", "never"),
        (101, "max-stale=much", "never"),
        (101, "max-stale=", "never"),
        (101, 'max-stale="5"', "stale"),
        (50, "max-stale=0", "fresh"),
    ],
)
def test_rfc_9111_5_2_1_2_max_stale(age: float, line: str, expected: str) -> None:
    assert verdict(age, line) == expected


@pytest.mark.parametrize(
    ("age", "line", "expected"),
    [
        (50, "min-fresh=50", "fresh"),
        (51, "min-fresh=50", "never"),
        (50, "min-fresh=x", "fresh"),
        (101, "min-fresh=0", "never"),
        (101, "min-fresh=0, max-stale", "never"),
    ],
)
def test_rfc_9111_5_2_1_3_min_fresh(age: float, line: str, expected: str) -> None:
    assert verdict(age, line) == expected


@pytest.mark.parametrize("line", ["no-cache", "no-cache, max-stale", "no-cache, stale-if-error=9"])
@pytest.mark.parametrize("age", [0, 50, 101, 300])
def test_rfc_9111_5_2_1_4_no_cache(age: float, line: str) -> None:
    assert verdict(age, line) == "never"


@pytest.mark.parametrize(
    ("age", "line", "expected"),
    [
        (105, "stale-if-error=5", "stale"),  # of the operator's other window
        (165, "stale-if-error=65", "on error"),
        (165, "stale-if-error=64", "never"),
        (165, "stale-if-error=many", "never"),
        (690, "stale-if-error=9999", "on error"),
        (701, "stale-if-error=9999", "never"),
        # RFC 5861 §4: "regardless of other freshness information".
        (51, "max-age=50, stale-if-error=5", "on error"),
        (105, "max-age=50, stale-if-error=5", "on error"),
        (105, "min-fresh=1, stale-if-error=5", "on error"),
        (106, "max-age=50, stale-if-error=5", "never"),
    ],
)
def test_rfc_5861_4_stale_if_error(age: float, line: str, expected: str) -> None:
    assert verdict(age, line) == expected


def test_a_client_may_reach_as_far_as_the_longest_window_and_no_further() -> None:
    for limits in (Limits(stale_while_revalidate=60), Limits(stale_if_error=60)):
        assert verdict(160, "max-stale", limits) == "stale"
        assert verdict(161, "max-stale", limits) == "never"
        assert verdict(160, "stale-if-error=999", limits) in {"stale", "on error"}
        assert verdict(161, "stale-if-error=999", limits) == "never"


def test_a_response_serves_stale_no_longer_than_it_was_kept_for() -> None:
    stored = aged(130, stale=20)
    assert not freshness.may_answer_stale(stored, CacheControl(), LIMITS, NOW)
    assert not freshness.may_stand_in(stored, CacheControl(), LIMITS, NOW)


CONTROLS = st.builds(
    CacheControl,
    no_cache=st.booleans(),
    max_age=st.none() | st.integers(0, 2000),
    max_stale=st.none() | st.integers(0, 2000),
    min_fresh=st.none() | st.integers(0, 2000),
    stale_if_error=st.none() | st.integers(0, 2000),
)
WINDOWS = st.integers(0, 1000)


@given(CONTROLS, st.floats(0, 3000), WINDOWS, WINDOWS)
def test_no_directive_reaches_past_the_operators_windows(
    control: CacheControl, age: float, revalidate: int, error: int
) -> None:
    limits = Limits(stale_while_revalidate=revalidate, stale_if_error=error)
    stored = aged(age, stale=5000)
    stale = freshness.may_answer_stale(stored, control, limits, NOW)
    standing_in = freshness.may_stand_in(stored, control, limits, NOW)
    if age - 100 > max(revalidate, error):
        assert not stale
        assert not standing_in
    if control.no_cache:
        assert not standing_in
    if freshness.may_answer(stored, control, NOW):
        assert age < 100


@pytest.mark.parametrize(
    ("status_code", "is_failure"),
    [(200, False), (400, False), (401, False), (404, False), (408, False), (429, True)]
    + [(code, True) for code in (500, 502, 503, 504, 529)],
)
def test_an_overloaded_or_broken_upstream_fails(status_code: int, is_failure: bool) -> None:
    assert freshness.is_failure(status_code) is is_failure


@pytest.mark.parametrize(
    ("value", "is_stream", "lifetime", "stale"),
    [
        (None, False, 3600, 600),
        (b"no-store", False, 0, 600),
        (b"no-store", True, 3600, 600),
        (b"max-age=60", False, 60, 600),
        (b"max-age=60", True, 3600, 600),
        (b"max-age=0", False, 0, 600),
        (b"max-age=86400", False, 3600, 600),
        (b"no-cache, must-revalidate", False, 3600, 0),
        (b"no-cache, must-revalidate", True, 3600, 600),
        (b"proxy-revalidate", False, 3600, 0),
        (b"s-maxage=60", False, 3600, 0),
    ],
)
def test_json_replies_obey_the_upstream_and_streams_do_not(
    value: bytes | None, is_stream: bool, lifetime: float, stale: float
) -> None:
    headers: list[Header] = [(b"cache-control", value)] if value else []
    assert freshness.freshness_lifetime(headers, LIMITS, is_stream=is_stream) == lifetime
    assert freshness.stale_lifetime(headers, LIMITS, is_stream=is_stream) == stale


@pytest.mark.parametrize(
    ("asked", "bounds", "ttl"),
    [
        (None, {}, 3600),
        (10.0, {}, 10),
        (0.0, {}, 0),
        (86_400.0, {}, 86_400),
        (1e9, {}, 2_592_000),
        (10.0, {"min_ttl": 60}, 60),
        (0.0, {"min_ttl": 60}, 60),
        (500.0, {"max_ttl": 100}, 100),
        (None, {"max_ttl": 100}, 3600),  # they bound what clients ask for
    ],
)
def test_a_client_may_ask_for_a_lifetime_within_the_operators_bounds(
    asked: float | None, bounds: dict[str, Any], ttl: float
) -> None:
    assert freshness.limits_for(Limits(**bounds), asked).ttl == ttl


@pytest.mark.parametrize("time_bound", [TimeBound.MOMENT, TimeBound.DAY])
@pytest.mark.parametrize(
    ("asked", "settings", "ttl"),
    [
        (None, {}, 60),
        (3600.0, {}, 60),
        (10.0, {}, 10),
        (10.0, {"min_ttl": 100}, 60),
        (None, {"ttl": 30}, 30),
        (None, {"volatile_ttl": 0}, 0),
        (3600.0, {"volatile_ttl": 0, "min_ttl": 60}, 0),
    ],
)
def test_a_time_bound_answer_lives_shortly_and_never_stale(
    time_bound: TimeBound, asked: float | None, settings: dict[str, Any], ttl: float
) -> None:
    limits = replace(LIMITS, **settings)
    own = freshness.limits_for(limits, asked, time_bound)
    assert (own.ttl, own.stale_lifetime) == (ttl, 0)
    assert freshness.limits_for(limits, None) == limits


DAWN = NOW - NOW % 900


@pytest.mark.parametrize(
    ("line", "time_bound", "at", "oldest"),
    [
        ("", TimeBound.NONE, 5, None),
        ("max-age=600", TimeBound.NONE, 5, 600),
        ("", TimeBound.MOMENT, 5, 60),
        ("max-age=600, max-stale, stale-if-error=9", TimeBound.MOMENT, 5, 60),
        ("max-age=30", TimeBound.MOMENT, 5, 30),
        ("", TimeBound.DAY, 600, 60),
        ("", TimeBound.DAY, 5, 5),
    ],
)
def test_a_time_bound_question_is_answered_by_nothing_older(
    line: str, time_bound: TimeBound, at: float, oldest: float | None
) -> None:
    control = freshness.bound(said(line), time_bound, LIMITS, DAWN + at)
    assert control.max_age == oldest
    if time_bound:
        for age in (oldest or 0) + 0.1, 100, 101, 300:
            stored = aged(age)
            assert not freshness.may_answer(stored, control, NOW)
            assert not freshness.may_stand_in(stored, control, LIMITS, NOW)


@given(st.floats(0, 4e9), st.sampled_from(range(-12 * 4, 14 * 4 + 1)))
def test_what_is_said_of_a_day_is_not_said_on_another_one(now: float, quarters: int) -> None:
    """This holds in every time zone."""
    end = freshness.ends_at(TimeBound.DAY, now)
    assert now < end <= now + 900
    day = (now + 900 * quarters) // 86_400
    assert (end - 0.001 + 900 * quarters) // 86_400 == day
    for other in (TimeBound.NONE, TimeBound.MOMENT):
        assert freshness.ends_at(other, now) == math.inf
