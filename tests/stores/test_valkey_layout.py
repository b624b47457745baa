"""Which node of a cluster has which keys."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stores.valkey.client import Refused
from app.stores.valkey.cluster.layout import (
    Layout,
    Place,
    Redirection,
    layout_in,
    redirection_in,
    slot_of,
)

ASKED = Place("asked", 1)
A, B, C = Place("a", 1), Place("b", 2), Place("c", 3)


def node(place: Place) -> list[Any]:
    return [place.host.encode(), place.port, b"id", []]


SLOTS = [
    [10, 16383, node(B)],
    [0, 4, node(A), node(C)],
    [6, 9, node(A), node(C)],
]


@pytest.mark.parametrize(
    ("key", "slot"),
    [("foo", 12182), (b"foo", 12182), ("{foo}.a", 12182), ("a{foo}", 12182), ("{}foo", 9500)],
)
def test_a_slot_is_the_checksum_of_a_key_or_of_its_tag(key: str | bytes, slot: int) -> None:
    assert slot_of(key) == slot


@pytest.mark.parametrize(
    ("slot", "places"),
    [(0, (A, C)), (4, (A, C)), (5, ()), (6, (A, C)), (9, (A, C)), (10, (B,)), (16383, (B,))],
)
def test_a_slot_leads_to_its_shard_if_anybody_has_it(slot: int, places: tuple[Place]) -> None:
    assert layout_in(SLOTS, ASKED).shard_of(slot) == places


def test_shards_come_by_their_first_slots_each_once() -> None:
    assert layout_in(SLOTS, ASKED).shards == [(A, C), (B,)]
    assert Layout(()).shards == []
    assert Layout(()).shard_of(0) == ()


@given(st.lists(st.integers(0, 16383), min_size=1, max_size=20, unique=True))
def test_every_slot_of_every_range_is_found(firsts: list[int]) -> None:
    begins = [0, *sorted(set(firsts) - {0})]
    ends = [*(first - 1 for first in begins[1:]), 16383]
    told = [[b, e, node(Place("h", i))] for i, (b, e) in enumerate(zip(begins, ends, strict=True))]
    layout = layout_in(told, ASKED)
    for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        assert layout.shard_of(begin) == layout.shard_of(end) == (Place("h", number),)


@pytest.mark.parametrize(
    ("told", "places"),
    [
        ([b"", 7, b"id"], (Place("asked", 7),)),
        ([None, 7, b"id"], (Place("asked", 7),)),
        ([b"host.name", 7, b"id", []], (Place("host.name", 7),)),
        ([b"?", 7, b"id"], ()),
    ],
)
def test_a_node_that_does_not_tell_its_host_is_where_it_was_asked(
    told: list[Any], places: tuple[Place]
) -> None:
    assert layout_in([[0, 16383, told]], ASKED).shard_of(1) == places


def test_a_replica_that_nobody_can_name_is_left_out() -> None:
    told = [[0, 16383, node(A), [b"?", 3, b"id"], node(C)]]
    assert layout_in(told, ASKED).shards == [(A, C)]


def test_what_is_no_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="slots"):
        layout_in(b"OK", ASKED)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MOVED 42 a:1", Redirection(42, A, is_passing=False)),
        ("ASK 42 a:1", Redirection(42, A, is_passing=True)),
        ("MOVED 42 ::1:7000", Redirection(42, Place("::1", 7000), is_passing=False)),
        ("MOVED 42 :7000", Redirection(42, Place("asked", 7000), is_passing=False)),
        ("MOVED 42 ?:7000", Redirection(42, Place("asked", 7000), is_passing=False)),
        ("ERR MOVED 42 a:1", None),
        ("MOVED", None),
    ],
)
def test_a_redirection_says_where_a_key_is(text: str, expected: Redirection | None) -> None:
    assert redirection_in(Refused(text), ASKED) == expected
    assert redirection_in(text.encode(), ASKED) is None
