from app.core.circuit_breaker import CircuitBreaker


def failing(times: int, breaker: CircuitBreaker, now: float = 0.0) -> None:
    for _ in range(times):
        breaker.failed(now)


def test_a_few_failures_in_a_row_open_it() -> None:
    breaker = CircuitBreaker(threshold=3, rest=2)
    failing(2, breaker)
    assert breaker.allows(0.0)
    assert breaker.failed(0.0)
    assert breaker.is_open
    assert not breaker.allows(1.9)


def test_failures_between_successes_do_not_add_up() -> None:
    breaker = CircuitBreaker(threshold=3, rest=2)
    for _ in range(10):
        failing(2, breaker)
        assert not breaker.succeeded()
    assert not breaker.is_open


def test_after_a_rest_one_call_at_a_time_is_tried() -> None:
    breaker = CircuitBreaker(threshold=1, rest=2)
    breaker.failed(0.0)
    assert breaker.allows(2.0)
    assert not breaker.allows(2.1)
    assert breaker.allows(4.1)


def test_a_successful_trial_closes_it() -> None:
    breaker = CircuitBreaker(threshold=1, rest=2)
    breaker.failed(0.0)
    assert breaker.allows(2.0)
    assert breaker.succeeded()
    assert breaker.allows(2.1)
    assert breaker.allows(2.1)


def test_a_failed_trial_opens_it_anew_without_being_news() -> None:
    breaker = CircuitBreaker(threshold=1, rest=2)
    assert breaker.failed(0.0)
    assert breaker.allows(2.0)
    assert not breaker.failed(3.0)
    assert not breaker.allows(4.9)
    assert breaker.allows(5.0)
