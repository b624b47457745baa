import pytest

from app.core.inflight import SMALL, Hold, Inflight


def test_what_is_held_is_counted_over_all_holds_and_let_go_of_with_them() -> None:
    inflight = Inflight(100)
    with Hold(inflight) as one, Hold(inflight) as other:
        one.add(70)
        other.add(50)
        one.drop(20)
        assert inflight.held == 100
        other.release()
        assert inflight.held == 50
        other.add(1)
    assert inflight.held == 0


@pytest.mark.parametrize(
    ("held", "full", "overfull"),
    [(99, False, False), (100, True, False), (199, True, False), (200, True, True)],
)
def test_first_it_is_full_and_then_nobody_is_let_in(held: int, full: bool, overfull: bool) -> None:
    inflight = Inflight(100)
    Hold(inflight).add(held)
    assert (inflight.is_full, inflight.is_overfull) == (full, overfull)
    assert inflight.has_room_for(SMALL)
    assert inflight.has_room_for(SMALL + 1) != full
