"""Who asked first: an answer must not take the place of one to a later question."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Line:
    """The turns taken for one name: how many go on, and the latest that has kept its answer."""

    waiting: int = 0
    kept: int = 0


class WriteOrder:
    """Numbers the requests that go upstream, by the names of what they ask for."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._last = 0

    @contextmanager
    def take(self, names: Collection[str]) -> Iterator["WriteTicket"]:
        """Take a turn, which ends with the block."""
        self._last += 1
        names = set(names)
        for name in names:
            self._lines.setdefault(name, _Line()).waiting += 1
        try:
            yield WriteTicket(self, self._last)
        finally:
            for name in names:
                line = self._lines[name]
                line.waiting -= 1
                if not line.waiting:
                    del self._lines[name]

    def latest(self, name: str) -> int:
        """Give the number of the latest turn whose answer was kept; 0 if there is none."""
        return self._lines[name].kept

    def keep(self, name: str, number: int) -> bool:
        """Tell whether a turn's answer is the latest so far, and note that it is kept."""
        line = self._lines[name]
        if number < line.kept:
            return False
        line.kept = number
        return True


@dataclass(frozen=True, slots=True)
class WriteTicket:
    """One request on its way upstream."""

    turns: WriteOrder
    number: int

    def may_keep(self, name: str) -> bool:
        """Tell whether to keep the answer: not if that of a later request has been kept."""
        return self.turns.keep(name, self.number)

    def latest_kept(self, name: str) -> int:
        """Give the number of the latest request whose answer was kept meanwhile; 0 for none."""
        return self.turns.latest(name)
