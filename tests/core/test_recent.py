from app.core.recent import Recent


def test_the_least_recently_used_give_way() -> None:
    known: Recent[str, int] = Recent(2)
    known.keep("a", 1)
    known.keep("b", 2)
    assert known.get("a") == 1
    known.keep("c", 3)
    assert [known.get(name) for name in "abc"] == [1, None, 3]


def test_what_is_kept_again_is_used() -> None:
    known: Recent[str, int] = Recent(2)
    for name, value in (("a", 1), ("b", 2), ("a", 4), ("c", 3)):
        known.keep(name, value)
    assert [known.get(name) for name in "abc"] == [4, None, 3]


def test_what_is_unwanted_is_forgotten_and_all_else_stays_in_order() -> None:
    known: Recent[str, int] = Recent(4)
    for name, value in (("a", 1), ("b", 2), ("c", 3), ("d", 4)):
        known.keep(name, value)
    known.forget_if(lambda value: value % 2 == 0)
    assert known.values() == [1, 3]
