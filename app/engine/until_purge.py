"""Keeps texts in the memory of this process until any process of the fleet purges entries.

Every purge replaces the store's epoch (`core/epochs.py`). All processes that use the same store
read the same epoch.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class UntilPurge(Generic[T]):
    """A collection that is emptied when the store's epoch changes.

    `new` is a function that returns an empty collection. `epoch` is a function that returns the
    latest epoch of the store that this process knows.
    """

    def __init__(self, new: Callable[[], T], epoch: Callable[[], str]) -> None:
        self._new = new
        self._epoch = epoch
        self._kept, self._kept_in = new(), epoch()

    @property
    def kept(self) -> T:
        """The collection. It contains only texts that were added after the last purge."""
        if self._kept_in != (present := self._epoch()):
            self._kept, self._kept_in = self._new(), present
        return self._kept

    def of(self, epoch: str) -> T | None:
        """Return the collection, or None if the store's epoch is no longer `epoch`.

        Call this before a text is added. `epoch` is the store's epoch when the text was looked up.
        """
        kept = self.kept
        return kept if epoch == self._kept_in else None

    def clear(self) -> None:
        """Empty the collection."""
        self._kept = self._new()
