from hypothesis import given
from hypothesis import strategies as st

from app.stores.memory.order import Order

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 30)))


@given(STEPS, st.integers(1, 5))
def test_pages_give_what_is_there_in_the_order_in_which_it_came(
    steps: list[tuple[bool, int]], limit: int
) -> None:
    order = Order()
    places: dict[str, int] = {}
    for adds, number in steps:
        key = str(number)
        if key in places:
            order.remove(places.pop(key))
        if adds:
            places[key] = order.append(key)
    found: list[str] = []
    place = 0
    while page := order.after(place, limit):
        assert len(page) <= limit
        found += [key for _, key in page]
        place = page[-1][0]
    assert found == list(places)


def test_what_has_gone_takes_no_room_for_ever() -> None:
    order = Order()
    for number in range(10_000):
        order.remove(order.append(str(number)))
    last = order.append("last")
    assert len(order._keys) < 2000
    assert order.after(0, 9) == [(last, "last")]
    order.clear()
    assert order.after(0, 9) == []
