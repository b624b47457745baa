"""A circuit breaker: whether a failing dependency may be called. The caller passes the time."""


class CircuitBreaker:
    """Opens after `threshold` failures in a row, then allows single trial calls.

    While closed, every call is allowed. While open, no call is allowed for `rest` seconds; then one
    trial call is allowed. If the trial succeeds, the breaker closes; if it fails, the breaker stays
    open for `rest` seconds more. `now` is in seconds of a monotonic clock.
    """

    def __init__(self, threshold: int = 5, rest: float = 2.0) -> None:
        self._threshold = threshold
        self._rest = rest
        self._failures = 0
        self._next_trial = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the dependency counts as down."""
        return self._failures >= self._threshold

    def allows(self, now: float) -> bool:
        """Whether the dependency may be called at `now`.

        If the breaker is open, True starts a trial; the next one is allowed `rest` seconds later.
        """
        if not self.is_open:
            return True
        if now < self._next_trial:
            return False
        self._next_trial = now + self._rest
        return True

    def succeeded(self) -> bool:
        """Note a success; return whether it closed the breaker."""
        was_open = self.is_open
        self._failures = 0
        return was_open

    def failed(self, now: float) -> bool:
        """Note a failure; return whether it opened the breaker."""
        self._failures += 1
        self._next_trial = now + self._rest
        return self._failures == self._threshold
