"""Questions that the verifier was least sure about: for an operator to review, in memory only."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from app.core.models import Clock, Verdict
from app.core.recent import Recent
from app.engine.until_purge import UntilPurge

_MOST = 200  # pairs
_LONGEST = 2000  # characters; longer texts are not kept


@dataclass(frozen=True, slots=True)
class Doubt:
    """A question and a stored one, and how probably one answer serves both.

    `line`: the least probability with which a stored answer is served.
    `answers`: whether `probability` reached this line. `distance`: cosine distance.
    `asked_at`, `ends_at`: when it was asked, and when the entry ends (seconds since 1970).
    """

    entry: str
    distance: float
    probability: float
    line: float
    answers: bool
    asked_at: float
    ends_at: float
    asked: str = field(repr=False)
    stored: str = field(repr=False)

    @property
    def doubt(self) -> float:
        """How far `probability` is from `line`. Operators see the smallest first."""
        return abs(self.probability - self.line)


class Doubts:
    """The latest pairs that the verifier has judged, one for each request.

    `epoch` returns the store's epoch.
    """

    def __init__(self, clock: Clock, epoch: Callable[[], str]) -> None:
        self._clock = clock
        self._known = UntilPurge(self._nothing, epoch)

    def note(self, asked: str, verdicts: Sequence[Verdict], line: float, epoch: str) -> None:
        """Keep the pair with the highest probability, if the verifier has judged any.

        `epoch` is the store's epoch at the look-up. If there was a purge since, nothing is kept.
        """
        known = self._known.of(epoch)
        judged = [verdict for verdict in verdicts if verdict.probability is not None]
        best = max(judged, key=lambda verdict: verdict.probability or 0.0, default=None)
        if best is None or known is None:
            return
        stored = best.candidate.stored
        text = stored.key.text or ""
        if max(len(asked), len(text)) > _LONGEST:
            return
        doubt = Doubt(
            entry=stored.id,
            distance=max(0.0, best.candidate.distance),
            probability=best.probability or 0.0,
            line=line,
            answers=best.refused_by is None,
            asked_at=self._clock(),
            ends_at=stored.stored_at + stored.lifetime,
            asked=asked,
            stored=text,
        )
        known.keep((stored.id, asked), doubt)

    def all(self) -> list[Doubt]:
        """Return the pairs whose entry has not ended, those nearest to the line first."""
        now = self._clock()
        present = [doubt for doubt in self._known.kept.values() if doubt.ends_at > now]
        return sorted(present, key=lambda doubt: doubt.doubt)

    def forget(self, entries: Collection[str]) -> None:
        """Forget the pairs of some entries."""
        known = self._known.kept
        for doubt in known.values():
            if doubt.entry in entries:
                known.forget((doubt.entry, doubt.asked))

    def clear(self) -> None:
        """Forget all pairs."""
        self._known.clear()

    @staticmethod
    def _nothing() -> Recent[tuple[str, str], Doubt]:
        return Recent(_MOST)
