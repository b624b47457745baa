"""Whole numbers that are added up by name, until somebody takes them to where they last."""

from collections import Counter
from collections.abc import Callable, Mapping

_MOST = 1000  # different things that one process counts by
_OTHERS = "(other)"


class Tally:
    """Sums that are to outlive the process; `core/ports.py` says what keeps them.

    A name is `what:of`: `what` is one of ours and has no colon, `of` may be a client's word. Of
    these, the first thousand are told apart.
    """

    def __init__(self) -> None:
        self.on_add: Callable[[], None] = lambda: None
        self._pending = Counter[str]()
        self._taken = Counter[str]()
        self._known = {""}

    def add(self, what: str, amount: int = 1, of: str = "") -> None:
        """Add a whole number to a sum; `on_add` is called."""
        if of not in self._known:
            if len(self._known) >= _MOST:
                of = _OTHERS
            self._known.add(of)
        self._pending[f"{what}:{of}"] += amount
        self.on_add()

    @property
    def is_pending(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._pending)

    @property
    def own(self) -> Mapping[str, int]:
        """All that this process has added, taken or not; sums of 0 are left out."""
        return self._taken + self._pending

    def take(self) -> Mapping[str, int]:
        """Return what was added since it was last taken."""
        taken, self._pending = self._pending, Counter()
        self._taken.update(taken)
        return taken

    def put_back(self, taken: Mapping[str, int]) -> None:
        """Add what was taken and could not be kept."""
        self._pending.update(taken)
        self._taken.subtract(taken)


def sums(totals: Mapping[str, int], what: str) -> dict[str, int]:
    """Return the sums of one kind, by what they are of."""
    prefix = f"{what}:"
    return {name.removeprefix(prefix): n for name, n in totals.items() if name.startswith(prefix)}
