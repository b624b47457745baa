import math

import pytest

from app.core.models import CacheKey, Candidate, StoredResponse
from app.rules.limits import nearest_within

STORED = StoredResponse(CacheKey("p", "d", "text"), "m", b"{}", 990.0, 60.0)


@pytest.mark.parametrize(
    ("distances", "near"),
    [
        ([], []),
        ([0.1500001], []),
        ([0.15], [0.15]),
        ([0.12, 0.03, 0.2, 0.07], [0.03, 0.07, 0.12]),
        ([-0.0000002], [-0.0000002]),
        ([math.nan, 0.1], [0.1]),
        ([-math.inf, 0.1], [0.1]),
    ],
)
def test_what_is_within_the_bound_may_answer_nearest_first(
    distances: list[float], near: list[float]
) -> None:
    candidates = [Candidate(STORED, distance) for distance in distances]
    found = nearest_within(candidates, 0.15)
    assert [candidate.distance for candidate in found] == near


def test_no_more_are_candidates_than_are_worth_reading() -> None:
    candidates = [Candidate(STORED, 0.01 * place) for place in range(12, 0, -1)]
    found = nearest_within(candidates, 0.15)
    assert [candidate.distance for candidate in found] == [0.01 * place for place in range(1, 9)]
