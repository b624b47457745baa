"""Named sums of whole numbers. A process keeps them here until they are written to the store."""

from collections import Counter
from collections.abc import Callable, Mapping

_MOST = 1000  # different values of `of` in one process
_OTHERS = "(other)"


class Tally:
    """Sums that must outlive the process; stores keep them (`Totals` in `core/ports.py`).

    The name of a sum is `what:of`. `what` is a name from Reprise's code, without a colon. `of` may
    be a text that a client sent, such as a model's name. After the first thousand values of `of`,
    each new value is replaced by `(other)`.

    The attribute `on_add` is a function that is called after each addition.
    """

    def __init__(self) -> None:
        self.on_add: Callable[[], None] = lambda: None
        self._pending = Counter[str]()
        self._taken = Counter[str]()
        self._known = {""}

    def add(self, what: str, amount: int = 1, of: str = "") -> None:
        """Add `amount` to the sum `what:of`, and call `on_add`."""
        if of not in self._known:
            if len(self._known) >= _MOST:
                of = _OTHERS
            self._known.add(of)
        self._pending[f"{what}:{of}"] += amount
        self.on_add()

    @property
    def is_pending(self) -> bool:
        """Whether `take` has any sums to return."""
        return bool(self._pending)

    @property
    def own(self) -> Mapping[str, int]:
        """The sums of all amounts that this process has added, whether or not `take` returned them.

        Sums of 0 are left out.
        """
        return self._taken + self._pending

    def take(self) -> Mapping[str, int]:
        """Return the sums of the amounts added since the last call of `take`."""
        taken, self._pending = self._pending, Counter()
        self._taken.update(taken)
        return taken

    def put_back(self, taken: Mapping[str, int]) -> None:
        """Add back sums that `take` returned, because they could not be stored."""
        self._pending.update(taken)
        self._taken.subtract(taken)


def sums(totals: Mapping[str, int], what: str) -> dict[str, int]:
    """Return the sums whose names are `what:of`. The keys of the result are the values of `of`."""
    prefix = f"{what}:"
    return {name.removeprefix(prefix): n for name, n in totals.items() if name.startswith(prefix)}
