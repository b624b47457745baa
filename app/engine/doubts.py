"""Keeps pairs of questions that the verifier has judged, for an operator to review.

The operator sees the least certain pairs first. The pairs are kept in memory only.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from app.core.models import Clock, Verdict
from app.core.recent import Recent
from app.engine.until_purge import UntilPurge

_MOST = 200  # pairs
_LONGEST = 2000  # characters; longer texts are not kept


@dataclass(frozen=True, slots=True)
class Doubt:
    """A pair of questions, and the probability that one answer serves both questions.

    `entry`: the id of the stored response.
    `distance`: the cosine distance of the two questions.
    `line`: the least probability with which a stored answer is served.
    `answers`: whether `probability` is at least `line`.
    `asked_at`: when the new question was asked, in seconds since 1970.
    `ends_at`: when the stored response expires, in seconds since 1970.
    `asked`, `stored`: the new question, and the stored question.
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
        """The absolute difference of `probability` and `line`. Pairs are sorted by this number."""
        return abs(self.probability - self.line)


class Doubts:
    """Keeps the latest pairs that the verifier has judged, at most one pair for each request.

    `epoch` is a function that returns the store's epoch. A purge removes all pairs.
    """

    def __init__(self, clock: Clock, epoch: Callable[[], str]) -> None:
        self._clock = clock
        self._known = UntilPurge[Recent[tuple[str, str], Doubt]](lambda: Recent(_MOST), epoch)

    def note(self, asked: str, verdicts: Sequence[Verdict], line: float, epoch: str) -> None:
        """Keep `asked`, paired with the stored question that got the highest probability.

        `line` is the least probability with which a stored answer is served. `epoch` is the store's
        epoch when the candidates were looked up. Nothing is kept if the verifier judged no
        candidate, if a question is too long, or if there was a purge since the look-up.
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
        """Return the pairs whose stored response has not expired, the smallest `doubt` first."""
        now = self._clock()
        present = [doubt for doubt in self._known.kept.values() if doubt.ends_at > now]
        return sorted(present, key=lambda doubt: doubt.doubt)

    def forget(self, entries: Collection[str]) -> None:
        """Remove the pairs of the stored responses with the ids in `entries`."""
        self._known.kept.forget_if(lambda doubt: doubt.entry in entries)

    def clear(self) -> None:
        """Remove all pairs."""
        self._known.clear()
