"""How a long piece of work reports its progress."""

from collections.abc import Callable
from contextlib import AbstractContextManager

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""A function of a label and a number of steps. It returns a context manager that shows progress.

The context manager yields a function, which must be called after each step.
"""
