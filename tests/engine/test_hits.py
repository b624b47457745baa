from app.core.models import CacheKey, StoredResponse
from app.engine.hits import _ENTRIES, HitCounts


def entry(name: str, stored_at: float = 1.0) -> StoredResponse:
    return StoredResponse(CacheKey("p", name, None), "m", b"{}", stored_at, 60.0)


def test_answers_are_counted_and_the_latest_distances_kept() -> None:
    hits = HitCounts()
    hits.note(entry("a"), None)
    for step in range(15):
        hits.note(entry("a"), step / 100)
    tally = hits.of(entry("a"))
    assert (tally.count, tally.exact) == (16, 1)
    assert tally.distances == [step / 100 for step in range(5, 15)]
    assert (hits.of(entry("b")).count, list(hits.of(entry("b")).distances)) == (0, [])


def test_an_answer_in_place_of_another_is_counted_anew() -> None:
    hits = HitCounts()
    hits.note(entry("a"), 0.1)
    assert hits.of(entry("a", 2.0)).count == 0
    hits.note(entry("a", 2.0), 0.2)
    assert (hits.of(entry("a", 2.0)).count, hits.of(entry("a", 2.0)).distances) == (1, [0.2])
    assert hits.of(entry("a")).count == 0


def test_what_has_not_answered_for_long_is_forgotten_first() -> None:
    hits = HitCounts()
    hits.note(entry("first"), None)
    for number in range(_ENTRIES - 1):
        hits.note(entry(str(number)), None)
    hits.note(entry("first"), None)
    hits.note(entry("last"), None)
    counts = [hits.of(entry(name)).count for name in ("first", "0", "1", "last")]
    assert counts == [2, 0, 1, 1]
