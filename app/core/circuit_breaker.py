"""Whether a failing dependency may be called. Pure: the caller owns the clock."""


class CircuitBreaker:
    """Opens after a few failures in a row, then lets one call through now and again.

    Closed: every call is allowed. Open: none is, for `rest` seconds. After that one call at a
    time is tried; its success closes the breaker, its failure opens it anew. `now` is in seconds
    of any clock that never goes back.
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
        """Whether the dependency may be called; a trial counts as begun."""
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
