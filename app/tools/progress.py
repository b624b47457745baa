"""How a long piece of work reports its progress."""

from collections.abc import Callable
from contextlib import AbstractContextManager

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Shows the progress of work with a label and a number of steps.

It yields a function, which must be called after each step.
"""
