"""How a long piece of work reports its progress."""

from collections.abc import Callable
from contextlib import AbstractContextManager

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Begins to show work by its label and number of steps; what it yields is called after each."""
