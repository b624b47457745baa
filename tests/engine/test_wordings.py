"""The wordings that are kept for each entry. They show an operator which questions it answered."""

from dataclasses import replace

import pytest

from app.core.cache_status import CacheStatus
from app.core.models import CacheKey, StoredResponse
from app.engine.wordings import _MOST, Wordings
from app.rules.decisions import Serve
from tests.fakes import ManualClock

ENTRY = StoredResponse(CacheKey("p", "a", "the question"), "m", b"{}", 1.0, 60.0)
EPOCH = "e"
OTHER = replace(ENTRY, key=CacheKey("p", "b", "another question"))


def hit(stored: StoredResponse, distance: float = 0.1, probability: float | None = 0.9) -> Serve:
    return Serve(stored, CacheStatus.hit(stored, 2.0, distance), probability, EPOCH)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def wordings(clock: ManualClock) -> Wordings:
    return Wordings(clock, lambda: EPOCH)


def test_the_latest_come_first_and_the_same_wording_once_as_it_was_last(
    wordings: Wordings, clock: ManualClock
) -> None:
    for asked, probability in (("one", 0.8), ("two", None), ("one", 0.95)):
        clock.advance(1)
        wordings.note(asked, hit(ENTRY, 0.25, probability))
    last, first = wordings.of(ENTRY)
    assert (last.asked, last.count, last.probability) == ("one", 2, 0.95)
    assert (first.asked, first.count, first.probability) == ("two", 1, None)
    assert (last.asked_at - first.asked_at, last.distance) == (1, 0.25)
    assert wordings.of(OTHER) == []


def test_what_was_answered_before_an_entry_was_replaced_is_not_told(wordings: Wordings) -> None:
    newer = replace(ENTRY, stored_at=2.0)
    wordings.note("one", hit(ENTRY))
    assert wordings.of(newer) == []
    wordings.note("one", hit(newer))
    assert [wording.count for wording in wordings.of(newer)] == [1]
    assert wordings.of(ENTRY) == []


def test_of_all_entries_together_so_many_are_kept_and_each_is_cut(wordings: Wordings) -> None:
    wordings.note("first " + "x" * 10_000, hit(OTHER))
    assert len(wordings.of(OTHER)[0].asked) == 300
    for number in range(_MOST):
        wordings.note(f"{number}", hit(ENTRY))
    assert (len(wordings.of(ENTRY)), wordings.of(OTHER)) == (_MOST, [])


def test_two_long_wordings_with_the_same_beginning_are_two(wordings: Wordings) -> None:
    for end in "ab":
        wordings.note("x" * 1000 + end, hit(ENTRY))
    assert len(wordings.of(ENTRY)) == 2


def test_those_of_an_entry_or_all_are_forgotten(wordings: Wordings) -> None:
    for entry in (ENTRY, OTHER):
        wordings.note("one", hit(entry))
    wordings.forget([ENTRY.id])
    assert (len(wordings.of(ENTRY)), len(wordings.of(OTHER))) == (0, 1)
    wordings.clear()
    assert wordings.of(OTHER) == []
