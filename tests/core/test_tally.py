"""Sums are kept until they are taken. At most a thousand words of clients have their own sums."""

from app.core.tally import Tally, sums


def test_what_is_taken_is_what_was_added_since() -> None:
    tally, told = Tally(), list[int]()
    tally.on_add = lambda: told.append(1)
    tally.add("hits", 2, "m:1")
    tally.add("hits", 3, "m:1")
    taken = tally.take()
    assert taken == {"hits:m:1": 5}
    tally.add("hits")
    tally.put_back(taken)
    assert tally.take() == {"hits:": 1, "hits:m:1": 5}
    assert tally.take() == {}
    assert tally.own == {"hits:": 1, "hits:m:1": 5}
    assert len(told) == 3


def test_clients_words_are_told_apart_up_to_a_number() -> None:
    tally = Tally()
    for number in range(3000):
        tally.add("hits", of=f"m{number}")
    hits = sums(tally.take(), "hits")
    assert len(hits) == 1000
    assert hits["(other)"] == 3000 - 999


def test_sums_are_those_of_one_kind() -> None:
    assert sums({"a.b:x:y": 1, "a.b:": 2, "a.bc:x": 3}, "a.b") == {"x:y": 1, "": 2}
