"""The names of callers. Entries contain these names, so that a caller's entries can be erased.

A name is a digest of one credential. A request with several credentials has several names.
"""

from collections.abc import Iterable


def caller_text(names: Iterable[str]) -> str:
    """Return the text that is stored with an entry: the names, sorted and separated by spaces."""
    return " ".join(sorted(set(names)))


def is_named(caller: str, name: str) -> bool:
    """Whether `name` is one of the names in `caller`, a text made by `caller_text`."""
    return name in caller.split(" ")
