"""Texts that this process keeps in memory until a purge by any process of the fleet.

Every purge replaces the store's epoch (`core/epochs.py`), and all processes on a store read it.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class UntilPurge(Generic[T]):
    """A collection that is emptied once the store has another epoch.

    `new` returns an empty one. `epoch` returns the store's epoch, as far as this process knows.
    """

    def __init__(self, new: Callable[[], T], epoch: Callable[[], str]) -> None:
        self._new = new
        self._epoch = epoch
        self._kept, self._kept_in = new(), epoch()

    @property
    def kept(self) -> T:
        """The collection, with what was added since the last purge."""
        if self._kept_in != (present := self._epoch()):
            self._kept, self._kept_in = self._new(), present
        return self._kept

    def of(self, epoch: str) -> T | None:
        """Return the collection, or None if there was a purge since `epoch`.

        Call this before adding a text that was looked up in `epoch`.
        """
        kept = self.kept
        return kept if epoch == self._kept_in else None

    def clear(self) -> None:
        """Empty the collection."""
        self._kept = self._new()
