"""How a long piece of work tells how far it has come."""

from collections.abc import Callable
from contextlib import AbstractContextManager

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Begins to show work by its label and number of steps; what it gives is called after each."""
