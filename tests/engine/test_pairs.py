"""Hits that audits compared. They are kept so that an operator can read or label them."""

from dataclasses import replace

import pytest

from app.engine.pairs import Pair, Pairs
from tests.fakes import ManualClock

CLOCK = ManualClock()
EPOCH = "e"
PAIR = Pair(
    distance=0.1,
    probability=0.9,
    entry="e",
    asked_at=CLOCK(),
    ends_at=CLOCK() + 60,
    is_served=True,
    asked="asked",
    stored="stored",
    answer="one",
    upstreams_answer="other",
)


@pytest.fixture
def pairs() -> Pairs:
    return Pairs(CLOCK, lambda: EPOCH)


def test_the_questions_of_a_wrong_hit_are_cut_and_those_of_an_open_one_are_whole(
    pairs: Pairs,
) -> None:
    long = "two\nlines " * 100
    pair = replace(PAIR, asked=long, stored=long)
    pairs.note(pair, EPOCH)
    pairs.note_open(pair, EPOCH)
    assert [len(pairs.all()[0].asked), len(pairs.all()[0].stored)] == [300, 300]
    assert pairs.open() == [pair]


def test_open_hits_with_a_long_question_are_left_out(pairs: Pairs) -> None:
    for pair in (replace(PAIR, asked="x" * 2001), replace(PAIR, stored="x" * 2001)):
        pairs.note_open(pair, EPOCH)
    assert pairs.open() == []


def test_the_latest_open_hits_are_kept_once_each_and_come_first(pairs: Pairs) -> None:
    for number in (*range(250), 100):
        pairs.note_open(replace(PAIR, asked=f"{number}"), EPOCH)
    told = [int(pair.asked) for pair in pairs.open()]
    assert told == [100, *range(249, 100, -1), *range(99, 49, -1)]


def test_all_are_forgotten(pairs: Pairs) -> None:
    pairs.note(PAIR, EPOCH)
    pairs.note_open(PAIR, EPOCH)
    pairs.clear()
    assert (pairs.all(), pairs.open()) == ([], [])
