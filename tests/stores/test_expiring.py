from hypothesis import given
from hypothesis import strategies as st

from app.stores.memory.expiring import Expiring
from app.stores.memory.room import Room
from tests.fakes import ManualClock


class Kept:
    """Values that expire, and records of the values that were evicted or removed."""

    def __init__(self, most: int = 3) -> None:
        self.clock = ManualClock()
        self.evicted: list[str] = []
        self.removed: list[tuple[str, str]] = []
        self.values: Expiring[str] = Expiring(
            most,
            self.clock,
            lambda key, _value, reason: self.evicted.append(f"{key} {reason}"),
            lambda *item: self.removed.append(item),
            room=Room(100),
        )

    def put(self, keys: str, seconds: float = 60.0) -> None:
        for key in keys:
            self.values.put(key, key.upper(), self.clock.now + seconds, 1)

    @property
    def alive(self) -> str:
        return "".join(self.values.page("", 100)[0]).lower()


def test_a_value_is_given_until_its_time_is_up() -> None:
    kept = Kept()
    kept.put("a", 1.5)
    assert (kept.values.use("a"), kept.values.peek("a"), len(kept.values)) == ("A", "A", 1)
    kept.clock.advance(1.5)
    assert (kept.values.use("a"), kept.values.peek("a"), len(kept.values)) == (None, None, 0)


def test_the_least_recently_used_give_way_and_looking_is_no_use() -> None:
    kept = Kept()
    kept.put("abc")
    kept.values.use("a")
    kept.values.peek("b")
    kept.put("d")
    assert (kept.alive, kept.evicted, kept.removed) == ("acd", ["b lru"], [("b", "B")])


def test_a_replaced_value_is_told_as_removed_and_not_as_evicted() -> None:
    kept = Kept()
    kept.put("aa")
    assert (kept.alive, kept.evicted, kept.removed) == ("a", [], [("a", "A")])


def test_what_has_expired_is_removed_and_told() -> None:
    kept = Kept()
    kept.put("ab", 1)
    kept.put("c", 9)
    kept.clock.advance(1)
    kept.values.expire()
    assert (kept.alive, sorted(kept.evicted)) == ("c", ["a expired", "b expired"])
    assert sorted(kept.removed) == [("a", "A"), ("b", "B")]


def test_clearing_removes_everything_and_tells_how_much_was_alive() -> None:
    kept = Kept()
    kept.put("a", 1)
    kept.put("bc", 9)
    kept.clock.advance(1)
    assert kept.values.clear() == 2
    assert (kept.alive, kept.evicted, kept.removed) == ("", [], [])
    kept.put("d")
    assert kept.alive == "d"


def test_pages_give_what_is_alive() -> None:
    kept = Kept(most=10)
    kept.put("abcde")
    kept.put("b", 1)
    kept.clock.advance(1)
    first, cursor = kept.values.page("", 2)
    kept.put("f")
    second, cursor = kept.values.page(cursor, 2)
    third, cursor = kept.values.page(cursor, 3)
    assert (first + second + third, cursor) == (["A", "C", "D", "E", "F"], "")
    assert kept.values.page("no cursor", 2) == ([], "")


@given(st.lists(st.floats(0, 5)), st.floats(0, 6))
def test_the_number_alive_is_what_is_left(lifetimes: list[float], later: float) -> None:
    kept = Kept(most=100)
    for index, seconds in enumerate(lifetimes):
        kept.put(chr(0x4E00 + index), seconds)
    kept.clock.advance(later)
    assert len(kept.values) == len(kept.alive)
