import pytest

from app.core.models import Header
from app.rules.directives import directives
from app.rules.headers import CacheControl


@pytest.mark.parametrize(
    ("lines", "ttl"),
    [
        ([], None),
        (["60"], 60),
        ([" 60 "], 60),
        (["0"], 0),
        (["600", "60"], 60),
        (["600, 60"], 60),
        (["99999999999999999999"], 2**31),
        ([""], 0),
        (["60.5"], 0),
        (["-60"], 0),
        (["1h"], 0),
        (["600", "soon"], 0),
        (["\u0661"], 0),
    ],
)
def test_a_lifetime_that_cannot_be_read_is_none_at_all(lines: list[str], ttl: float | None) -> None:
    headers: list[Header] = [(b"x-cache-ttl", line.encode()) for line in lines]
    assert directives(headers).ttl == ttl


@pytest.mark.parametrize(
    ("lines", "max_distance"),
    [
        ([], None),
        (["0.05"], 0.05),
        (["\t.05 "], 0.05),
        (["0"], 0),
        (["1."], 1),
        (["5e-2"], 0.05),
        (["2.5"], 2.5),
        (["0.1", "0.05"], 0.05),
        (["0.1, 0.05"], 0.05),
        (["nan"], 0),
        (["inf"], 0),
        (["1e999"], float("inf")),
        (["-0.1"], 0),
        (["0,1"], 0),
        (["near"], 0),
        ([""], 0),
        (["0.1", "?"], 0),
    ],
)
def test_a_distance_that_cannot_be_read_is_the_nearest(
    lines: list[str], max_distance: float | None
) -> None:
    headers: list[Header] = [(b"x-cache-max-distance", line.encode()) for line in lines]
    assert directives(headers).max_distance == max_distance


@pytest.mark.parametrize(
    ("lines", "exact_only"),
    [
        ([], False),
        (["exact"], True),
        ([" EXACT\t"], True),
        (["semantic"], False),
        (["semantic", "exact"], True),
        (["semantic, exact"], True),
        (["off"], True),
        ([""], True),
    ],
)
def test_a_tier_that_cannot_be_read_is_the_exact_one(lines: list[str], exact_only: bool) -> None:
    headers: list[Header] = [(b"x-cache-tier", line.encode()) for line in lines]
    assert directives(headers).exact_only is exact_only


def test_they_stand_beside_cache_control() -> None:
    headers: list[Header] = [
        (b"x-cache-ttl", b"60"),
        (b"cache-control", b"max-stale"),
        (b"x-cache-max-distance", b"0.1"),
    ]
    found = directives(headers)
    assert (found.control, found.ttl, found.max_distance) == (
        CacheControl(max_stale=2**31),
        60,
        0.1,
    )
