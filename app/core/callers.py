"""The names of callers that are stored with their entries, so that a caller can be erased.

A name is a digest of one credential. A request with several credentials has several names.
"""

from collections.abc import Iterable


def caller_text(names: Iterable[str]) -> str:
    """Return the text that is stored with an entry: the names, sorted and separated by spaces."""
    return " ".join(sorted(set(names)))


def is_named(caller: str, name: str) -> bool:
    """Whether `caller`, a text made by `caller_text`, contains this name."""
    return name in caller.split(" ")
