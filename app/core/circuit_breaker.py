"""A circuit breaker, which decides whether a failing dependency may be called."""


class CircuitBreaker:
    """Opens after `threshold` failures in a row. While open, it allows only single trial calls.

    While the breaker is closed, every call is allowed. After it has opened, no call is allowed for
    `rest` seconds. After that time, one trial call is allowed. If the trial call succeeds, the
    breaker closes. If the trial call fails, the breaker stays open for `rest` seconds more.

    The methods do not read a clock: `now` is the time in seconds of a monotonic clock.
    """

    def __init__(self, threshold: int = 5, rest: float = 2.0) -> None:
        self._threshold = threshold
        self._rest = rest
        self._failures = 0
        self._next_trial = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the dependency is treated as down."""
        return self._failures >= self._threshold

    def allows(self, now: float) -> bool:
        """Whether the dependency may be called at `now`, in seconds of a monotonic clock.

        A call that is allowed while the breaker is open is a trial. After a trial, no other trial
        is allowed for `rest` seconds.
        """
        if not self.is_open:
            return True
        if now < self._next_trial:
            return False
        self._next_trial = now + self._rest
        return True

    def succeeded(self) -> bool:
        """Record a successful call. Return True if this success closed the breaker."""
        was_open = self.is_open
        self._failures = 0
        return was_open

    def failed(self, now: float) -> bool:
        """Record a call that failed at `now`. Return True if this failure opened the breaker."""
        self._failures += 1
        self._next_trial = now + self._rest
        return self._failures == self._threshold
