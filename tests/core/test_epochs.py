from hypothesis import given
from hypothesis import strategies as st

from app.core.epochs import is_dead, next_turn

TOKENS = st.text("0123456789abcdef", min_size=1)


@given(TOKENS, TOKENS, TOKENS)
def test_a_turn_lives_on_in_the_next_one_and_is_another(era: str, one: str, other: str) -> None:
    first = next_turn(era, one)
    second = next_turn(first, other)
    assert first != era
    assert (second == first) == (one == other)
    for earlier in (era, first):
        assert not is_dead(earlier, second)


@given(TOKENS, TOKENS, TOKENS)
def test_another_era_is_dead_in_whatever_turn(era: str, other: str, turn: str) -> None:
    for epoch in (era, next_turn(era, turn)):
        assert is_dead(epoch, next_turn(f"{era}0", turn))
        assert is_dead(epoch, "")
        assert is_dead("", epoch)
        assert is_dead(epoch, other) == (era != other)
