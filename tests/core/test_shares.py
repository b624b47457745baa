"""The intervals of shares: they contain the true share as often as they promise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.shares import excess, least_share, most_share


@pytest.mark.parametrize("base", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("wrong", [0.0, 0.01, 0.05, 0.2])
@pytest.mark.parametrize("of", [200, 1000])
def test_what_is_published_holds_the_true_share_in_95_of_100_runs(
    base: float, wrong: float, of: int
) -> None:
    """A wrong answer is always found wrong, and a right one with the probability `base`."""
    draws, runs = np.random.default_rng(24), 200
    seen = draws.binomial(of, 1 - (1 - wrong) * (1 - base), runs).tolist()
    noise = draws.binomial(2 * of, base, runs).tolist()
    found = [excess(n, of, b, 2 * of) for n, b in zip(seen, noise, strict=True)]
    assert sum(one is not None and one.low <= wrong <= one.high for one in found) >= 0.95 * runs


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_an_excess_lies_in_its_interval(count: int, more: int, base: int, base_more: int) -> None:
    found = excess(count, count + more, base, base + base_more)
    if not count + more or not base_more:
        assert found is None
    else:
        assert found is not None
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_an_excess_is_abbotts() -> None:
    found = excess(44, 100, 30, 100)
    assert found is not None
    assert found.value == pytest.approx((0.44 - 0.3) / 0.7)


@pytest.mark.parametrize("doubt", [0.05, 1e-4])
@pytest.mark.parametrize("share", [0.003, 0.02, 0.3])
@pytest.mark.parametrize("of", [32, 400])
def test_a_sure_bound_is_as_sure_as_it_says(of: int, share: float, doubt: float) -> None:
    """The check computes the binomial distribution; it draws no random numbers."""
    chances = [math.comb(of, n) * share**n * (1 - share) ** (of - n) for n in range(of + 1)]
    above = sum(c for n, c in enumerate(chances) if least_share(n, of, doubt) > share)
    below = sum(c for n, c in enumerate(chances) if most_share(n, of, doubt) < share)
    assert above <= doubt
    assert below <= doubt
    assert least_share(of, of, doubt) > least_share(of // 2, of, doubt) > 0
    assert most_share(0, 0, doubt) == 1
