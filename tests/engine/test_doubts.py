"""The pairs that are kept for an operator to review."""

from dataclasses import replace

import pytest

from app.core.models import CacheKey, Candidate, StoredResponse, Verdict
from app.engine.doubts import Doubts
from tests.fakes import ManualClock

LINE = 0.9
EPOCH = "e"


def verdict(text: str, probability: float | None, clock: ManualClock) -> Verdict:
    key = CacheKey("partition", f"digest of {text}", text)
    stored = StoredResponse(key, "m", b"{}", clock(), 60.0)
    is_refused = probability is None or probability < LINE
    return Verdict(Candidate(stored, 0.1), "verifier" if is_refused else None, probability)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def doubts(clock: ManualClock) -> Doubts:
    return Doubts(clock, lambda: EPOCH)


def texts(doubts: Doubts) -> list[tuple[str, str]]:
    return [(doubt.asked, doubt.stored) for doubt in doubts.all()]


def test_of_each_request_the_likeliest_pair_is_kept(doubts: Doubts, clock: ManualClock) -> None:
    verdicts = [verdict(text, p, clock) for text, p in (("a", 0.2), ("b", 0.8), ("c", None))]
    doubts.note("q", verdicts, LINE, EPOCH)
    (doubt,) = doubts.all()
    assert (doubt.stored, doubt.probability, doubt.answers) == ("b", 0.8, False)


def test_what_the_verifier_has_not_judged_is_not_kept(doubts: Doubts, clock: ManualClock) -> None:
    doubts.note("q", [verdict("a", None, clock)], LINE, EPOCH)
    doubts.note("q", [], LINE, EPOCH)
    assert doubts.all() == []


def test_the_nearest_to_the_line_come_first(doubts: Doubts, clock: ManualClock) -> None:
    for asked, probability in (("far", 0.1), ("near", 0.89), ("served", 0.95)):
        doubts.note(asked, [verdict("a", probability, clock)], LINE, EPOCH)
    assert [asked for asked, _ in texts(doubts)] == ["near", "served", "far"]


def test_a_pair_is_kept_once_and_no_longer_than_its_entry(
    doubts: Doubts, clock: ManualClock
) -> None:
    for _ in range(2):
        doubts.note("q", [verdict("a", 0.5, clock)], LINE, EPOCH)
    assert texts(doubts) == [("q", "a")]
    clock.advance(61)
    assert texts(doubts) == []


def test_long_texts_and_more_than_two_hundred_pairs_are_not_kept(
    doubts: Doubts, clock: ManualClock
) -> None:
    doubts.note("q" * 2001, [verdict("a", 0.5, clock)], LINE, EPOCH)
    assert doubts.all() == []
    for number in range(250):
        doubts.note(str(number), [verdict("a", 0.5, clock)], LINE, EPOCH)
    assert len(doubts.all()) == 200


def test_all_are_forgotten(doubts: Doubts, clock: ManualClock) -> None:
    doubts.note("q", [verdict("a", 0.5, clock)], LINE, EPOCH)
    doubts.clear()
    assert doubts.all() == []


def test_the_pairs_of_an_entry_are_forgotten(doubts: Doubts, clock: ManualClock) -> None:
    judged = verdict("a", 0.5, clock)
    other = replace(judged.candidate.stored, key=CacheKey("partition", "other", "b"))
    doubts.note("q", [judged], LINE, EPOCH)
    doubts.note("q", [Verdict(Candidate(other, 0.2), None, 0.5)], LINE, EPOCH)
    doubts.forget([judged.candidate.stored.id])
    assert texts(doubts) == [("q", "b")]
