"""How long the latest requests took. Requests that ended in the same way are of one kind."""

from collections import deque
from collections.abc import Mapping, Sequence

_KEPT = 1000  # durations of each kind
_SHARES = (50, 90, 99)


class Latencies:
    """The durations of the latest requests of each kind, in this process."""

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = {}

    def add(self, kind: str, seconds: float) -> None:
        """Record how long a request took.

        Only the latest thousand durations of each kind are kept.
        """
        self._seconds.setdefault(kind, deque(maxlen=_KEPT)).append(seconds)

    def percentiles(self) -> Mapping[str, Mapping[str, float]]:
        """Return the statistics of each kind: a mapping with `of`, `p50`, `p90` and `p99`.

        `of` is the number of durations. `p50`, `p90` and `p99` are percentiles in milliseconds.
        """
        return {kind: _told(sorted(known)) for kind, known in sorted(self._seconds.items())}


def _told(seconds: Sequence[float]) -> Mapping[str, float]:
    """Return the number of durations and their percentiles, as `Latencies.percentiles` does.

    `seconds` must be sorted. Each percentile is one of the durations: nothing is interpolated.
    """
    ranks = {f"p{share}": -(-share * len(seconds) // 100) for share in _SHARES}
    shown = {name: round(1000 * seconds[rank - 1], 2) for name, rank in ranks.items()}
    return {"of": len(seconds), **shown}
