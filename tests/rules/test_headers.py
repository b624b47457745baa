from dataclasses import replace
from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.cache_status import CacheStatus, Outcome
from app.core.models import CacheKey, Header, StoredResponse
from app.rules.headers import (
    CacheControl,
    accepts_coding,
    cache_control,
    cache_headers,
    cache_status_value,
    credentials,
    end_to_end,
    value_of,
)

STORED = StoredResponse(CacheKey("p", "entry-1", None), "m", b"{}", 1000.0, 3600.0)


def told(value: str) -> dict[str, Any]:
    """Read a Cache-Status field: for each cache its parameters (RFC 9211 §2)."""
    members: Any = http_sf.parse(value.encode(), tltype="list")
    return {str(name): (name, parameters) for name, parameters in members}


def test_hop_by_hop_headers_are_dropped_with_those_that_connection_names() -> None:
    headers: list[Header] = [
        (b"connection", b"close, X-Private"),
        (b"x-private", b"1"),
        (b"te", b"trailers"),
        (b"transfer-encoding", b"chunked"),
        (b"keep-alive", b"timeout=5"),
        (b"upgrade", b"h2c"),
        (b"proxy-authorization", b"Basic x"),
        (b"x-kept", b"1"),
        (b"x-kept", b"2"),
    ]
    assert end_to_end(headers) == [(b"x-kept", b"1"), (b"x-kept", b"2")]


def test_connection_cannot_drop_what_tells_callers_apart() -> None:
    headers: list[Header] = [
        (b"connection", b"Authorization, cookie, x-cache-namespace"),
        (b"authorization", b"Bearer sk-1"),
        (b"cookie", b"a=1"),
        (b"x-cache-namespace", b"n"),
    ]
    assert end_to_end(headers) == headers[1:]


def test_credentials_are_what_tells_callers_apart() -> None:
    told: list[Header] = [(b"authorization", b"Bearer a"), (b"api-key", b"b"), (b"cookie", b"c=d")]
    assert credentials([(b"x-a", b"1"), *told, (b"accept", b"*/*")]) == told


@pytest.mark.parametrize(
    ("accepted", "coding", "is_accepted"),
    [
        ("gzip", "gzip", True),
        ("gzip", "x-gzip", True),
        ("gzip", "br", False),
        ("*", "br", True),
        ("*;q=0, br", "gzip", False),
        ("gzip;q=0.0, *", "gzip", False),
        ("", "gzip", False),
        ("gzip, br", "gzip, br", True),
        ("gzip, *", "gzip, br", True),
        ("gzip", "gzip, br", False),
        ("gzip, br;q=0", "gzip, br", False),
    ],
)
def test_a_coding_is_accepted_where_the_request_says_so(
    accepted: str, coding: str, is_accepted: bool
) -> None:
    assert accepts_coding([(b"accept-encoding", accepted.encode())], coding) is is_accepted


def test_the_first_of_several_values_counts() -> None:
    assert value_of([(b"a", b"1"), (b"a", b"2")], b"a") == "1"
    assert value_of([], b"a") is None


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], CacheControl()),
        (["no-store"], CacheControl(no_store=True)),
        (["No-Cache , max-age=60"], CacheControl(no_cache=True, max_age=60)),
        (["max-age=10", "min-fresh=5"], CacheControl(max_age=10, min_fresh=5)),
        (["max-age=0, max-age=100"], CacheControl(max_age=0)),
        (['max-age="30"'], CacheControl(max_age=30)),
        (["max-age = 30"], CacheControl(max_age=30)),
        (["max-age=soon"], CacheControl(max_age=0)),
        (["max-age=-1"], CacheControl(max_age=0)),
        (["max-age="], CacheControl(max_age=0)),
        (["max-age"], CacheControl(max_age=0)),
        (["max-age=99999999999999999999"], CacheControl(max_age=2**31)),
        (["max-age=" + 5000 * "9"], CacheControl(max_age=2**31)),
        (
            ["max-age=2147483649, min-fresh=00000000000000007"],
            CacheControl(max_age=2**31, min_fresh=7),
        ),
        (['no-cache="Set-Cookie"'], CacheControl(no_cache=True)),
        (["community=UCI, only-if-cached"], CacheControl(only_if_cached=True)),
        (['x="no-store, no-cache"'], CacheControl()),
        ([",,, ,no-store,,"], CacheControl(no_store=True)),
        (["max-stale"], CacheControl(max_stale=2**31)),
        (["Max-Stale=60,stale-if-error = 5"], CacheControl(max_stale=60, stale_if_error=5)),
        (["max-stale="], CacheControl(max_stale=0)),
        (["max-stale=a while"], CacheControl(max_stale=0)),
        (["max-stale, max-stale=0"], CacheControl(max_stale=2**31)),
        (["stale-if-error"], CacheControl(stale_if_error=0)),
        (["\tmin-fresh=5\t;x", " , max-age\t=\t7"], CacheControl(min_fresh=5, max_age=7)),
        (["no-transform, pragma=x", "stale-while-revalidate=9"], CacheControl()),
        (["must-revalidate"], CacheControl(must_revalidate=True)),
        (["s-maxage=5"], CacheControl(must_revalidate=True)),
        (["max-stale-never=5, xmax-age=5, only-if-cached-not"], CacheControl()),
    ],
)
def test_cache_control_is_read_as_rfc_9111_says(lines: list[str], expected: CacheControl) -> None:
    assert cache_control([(b"cache-control", line.encode()) for line in lines]) == expected


@pytest.mark.parametrize(
    ("status", "value"),
    [
        (CacheStatus.hit(STORED, 1058.0, None), "reprise; hit; ttl=3542; detail=exact"),
        (
            CacheStatus.hit(STORED, 1058.0, 0.03984),
            'reprise; hit; ttl=3542; detail="semantic; distance=0.0398"',
        ),
        (CacheStatus.miss("e"), "reprise; fwd=miss"),
        (CacheStatus.miss("e", forward="request"), "reprise; fwd=request"),
        (
            CacheStatus.miss("e", detail="store-unavailable"),
            "reprise; fwd=miss; detail=store-unavailable",
        ),
        (CacheStatus.bypass("temperature"), "reprise; fwd=bypass; detail=temperature"),
        (CacheStatus.hit(STORED, 4600.0, None), "reprise; hit; ttl=-1; detail=exact"),
        (
            CacheStatus.hit(STORED, 4661.5, 0.03984),
            'reprise; hit; ttl=-61; detail="semantic; distance=0.0398"',
        ),
        (CacheStatus.miss("e", forward="stale"), "reprise; fwd=stale"),
        (
            CacheStatus.hit(STORED, 4661.0, None).instead_of(503),
            "reprise; fwd=stale; fwd-status=503; ttl=-61; detail=exact",
        ),
        (
            CacheStatus.hit(STORED, 4661.0, None).instead_of(None),
            "reprise; fwd=stale; ttl=-61; detail=exact",
        ),
        (
            CacheStatus.hit(STORED, 1058.0, None).instead_of(429),
            "reprise; fwd=request; fwd-status=429; ttl=3542; detail=exact",
        ),
        (
            replace(CacheStatus.miss("e", forward="stale"), collapsed=True),
            "reprise; fwd=stale; collapsed",
        ),
    ],
)
def test_cache_status_is_written_as_rfc_9211_says(status: CacheStatus, value: str) -> None:
    assert cache_status_value(status) == value
    assert list(told(value)) == ["reprise"]
    _, parameters = told(value)["reprise"]
    assert ("hit" in parameters) != ("fwd" in parameters)  # RFC 9211 §2.2


STORED_OR_NOT = st.builds(
    lambda stored_at, lifetime, now, distance: CacheStatus.hit(
        replace(STORED, stored_at=stored_at, freshness_lifetime=lifetime), now, distance
    ),
    st.floats(0, 1e9),
    st.floats(0.1, 1e7),
    st.floats(0, 1e9),
    st.none() | st.floats(0, 2),
)


@given(STORED_OR_NOT, st.none() | st.sampled_from([429, 500, 503]), st.booleans())
def test_what_cache_status_says_can_be_read_back(
    status: CacheStatus, failed: int | None, is_failed: bool
) -> None:
    """A parser of RFC 9651 (structured fields) that is not ours reads it."""
    status = status.instead_of(failed) if is_failed else status
    _, parameters = told(cache_status_value(status))["reprise"]
    assert parameters["ttl"] == status.ttl
    assert (parameters["ttl"] < 0) is (status.outcome is Outcome.STALE)
    assert parameters.get("fwd-status") == status.forward_status
    assert parameters.get("hit") is (None if is_failed else True)
    assert str(parameters["detail"]).startswith("exact" if status.distance is None else "semantic")


def test_a_stale_hit_tells_its_age() -> None:
    assert cache_headers(CacheStatus.hit(STORED, 4661.0, None)) == [
        (b"cache-status", b"reprise; hit; ttl=-61; detail=exact"),
        (b"x-cache", b"STALE"),
        (b"age", b"3661"),
        (b"x-cache-entry", b"entry-1"),
    ]


def test_a_semantic_hit_tells_age_distance_and_entry() -> None:
    assert cache_headers(CacheStatus.hit(STORED, 1058.9, 0.0398)) == [
        (b"cache-status", b'reprise; hit; ttl=3542; detail="semantic; distance=0.0398"'),
        (b"x-cache", b"HIT"),
        (b"age", b"58"),
        (b"x-cache-distance", b"0.0398"),
        (b"x-cache-entry", b"entry-1"),
    ]


def test_a_miss_tells_the_entry_that_its_answer_will_have() -> None:
    assert cache_headers(CacheStatus.miss("entry-1")) == [
        (b"cache-status", b"reprise; fwd=miss"),
        (b"x-cache", b"MISS"),
        (b"x-cache-entry", b"entry-1"),
    ]


def test_a_bypass_has_no_entry() -> None:
    assert [name for name, _ in cache_headers(CacheStatus.bypass("audio"))] == [
        b"cache-status",
        b"x-cache",
    ]
