"""Which pairs are learnt from."""

from collections import Counter

import numpy as np

from app.tools.groups import BENCHMARK, Group, read_groups
from training.pairs import LEARNT, epoch, mine

GROUPS = [
    Group(["a one", "a two", "a three"], ["a near", "a close"]),
    Group(["b one", "b two"], ["b near"]),
]


def unit(*numbers: float) -> list[float]:
    return list(np.array(numbers) / np.linalg.norm(numbers))


def test_neighbours_in_other_groups_are_mined_but_not_in_groups_that_may_ask_the_same() -> None:
    groups = [*GROUPS, Group(["c one", "c two"], [])]
    a, b = [unit(1, 0, 0)] * 5, [unit(1, 1, 0), unit(0, 0, 1), unit(0, 0, 1)]
    c = [unit(1, 0, 1), unit(1, 0, 0)]  # the second may ask the same as group `a`
    mined = mine(groups, np.array([*a, *b, *c], np.float32))
    assert {(p.one, p.other) for p in mined[0]} == {
        (text, "b one") for text in ("a one", "a two", "a three", "a near", "a close")
    }
    assert ("b two", "c one") in {(p.one, p.other) for p in mined[1]}
    assert not any(pair.same for pairs in mined for pair in pairs)


def test_a_pass_shows_all_wordings_with_each_other_and_near_misses_as_different() -> None:
    batches = epoch(GROUPS, [[], []], 4, seed=1)
    pairs = [pair for batch in batches for pair in batch]
    assert max(map(len, batches)) == 4
    same = Counter(frozenset((pair.one, pair.other)) for pair in pairs if pair.same)
    assert same == Counter(
        map(
            frozenset,
            [("a one", "a two"), ("a one", "a three"), ("a two", "a three"), ("b one", "b two")],
        )
    )
    different = {frozenset((pair.one, pair.other)) for pair in pairs if not pair.same}
    assert frozenset(("a near", "a close")) in different
    wordings = {"a one", "a two", "a three", "b one", "b two"}
    shown = Counter(text for two in different if two & wordings for text in two - wordings)
    assert shown == {"a near": 2, "a close": 2, "b near": 2}


def test_the_same_pass_is_the_same_and_another_is_not() -> None:
    assert epoch(GROUPS, [[], []], 4, seed=1) == epoch(GROUPS, [[], []], 4, seed=1)
    assert epoch(GROUPS, [[], []], 4, seed=1) != epoch(GROUPS, [[], []], 4, seed=2)


def test_nothing_that_is_calibrated_or_reported_on_is_learnt_from() -> None:
    learnt = {text for g in read_groups(LEARNT) for text in (*g.wordings, *g.near)}
    for path in (LEARNT.with_name("calibrate.jsonl.gz"), BENCHMARK):
        assert learnt.isdisjoint(t for g in read_groups(path) for t in (*g.wordings, *g.near))
