import pytest

from app.headers import (
    CacheControl,
    cache_control,
    cache_headers,
    cache_status_value,
    credentials,
    end_to_end,
    value_of,
)
from app.models import CacheKey, CacheStatus, Header, StoredResponse

STORED = StoredResponse(CacheKey("p", "entry-1", None), "m", b"{}", 1000.0, 3600.0)


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
    ],
)
def test_cache_status_is_written_as_rfc_9211_says(status: CacheStatus, value: str) -> None:
    assert cache_status_value(status) == value


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
