"""How long the latest requests took, by what became of them."""

from collections import deque
from collections.abc import Mapping, Sequence

_KEPT = 1000  # durations of each kind
_SHARES = (50, 90, 99)


class Latencies:
    """The durations of the latest requests of each kind, in this process."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = {}

    def add(self, kind: str, seconds: float) -> None:
        """Note how long a request took; the oldest of a thousand of its kind gives way."""
        self._seconds.setdefault(kind, deque(maxlen=_KEPT)).append(seconds)

    def percentiles(self) -> Mapping[str, Mapping[str, float]]:
        """Return for each kind how many durations are known, and their percentiles in ms."""
        return {kind: _told(sorted(known)) for kind, known in sorted(self._seconds.items())}


def _told(seconds: Sequence[float]) -> Mapping[str, float]:
    """Return percentiles by the nearest rank: each is a duration that was measured."""
    ranks = {f"p{share}": -(-share * len(seconds) // 100) for share in _SHARES}
    shown = {name: round(1000 * seconds[rank - 1], 2) for name, rank in ranks.items()}
    return {"of": len(seconds), **shown}
