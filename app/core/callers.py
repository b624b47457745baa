"""What callers are called beside what they have stored, so that one of them can be forgotten.

A name is a digest of a credential; a caller who has sent several has as many names.
"""

from collections.abc import Iterable


def caller_text(names: Iterable[str]) -> str:
    """Write names as they are stored."""
    return " ".join(sorted(set(names)))


def is_named(caller: str, name: str) -> bool:
    """Whether a stored caller has this name."""
    return name in caller.split(" ")
