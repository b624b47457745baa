"""What callers call their entries: the namespace of an entry, and its tags.

Rules of this file: operators will ask for labels as they were sent, so none is changed or dropped.
If there are more or longer ones than we keep, all of them are refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass

NAMESPACE = b"x-cache-namespace"
TAGS = b"x-cache-tags"

MOST_TAGS = 32
LONGEST = 256  # bytes of a label, in UTF-8

_SEPARATOR = ","
_WHITE = " \t"  # RFC 9110 §5.6.3


@dataclass(frozen=True, slots=True)
class Tagging:
    """A namespace, empty for none, and tags: surrogate keys."""

    namespace: str = ""
    tags: frozenset[str] = frozenset()

    def cover(self, asked: "Tagging") -> bool:
        """Whether an entry with these labels may answer: it carries all tags of the request.

        Namespaces have no say here, since they are part of the partition.
        """
        return asked.tags <= self.tags

    def joined(self, other: "Tagging") -> "Tagging":
        """Add the tags of another one, unless they would be too many."""
        tags = self.tags | other.tags
        return Tagging(self.namespace, tags) if len(tags) <= MOST_TAGS else self


UNTAGGED = Tagging()


def tagging_of(headers: Iterable[tuple[bytes, bytes]]) -> Tagging | None:
    """Read the labels of a request; None if there are more or longer ones than we keep."""
    namespaces, lists = [], []
    for name, value in headers:
        if name == NAMESPACE:
            namespaces.append(_text(value))
        elif name == TAGS:
            lists.append(_text(value))
    if not namespaces and not lists:
        return UNTAGGED
    return checked_labels(", ".join(namespaces), tags_in(_SEPARATOR.join(lists)))


def checked_labels(namespace: str, tags: Iterable[str]) -> Tagging | None:
    """Return a namespace and tags as one value; None if they could not be kept.

    That is if there are too many tags, if a label is empty or too long, or if it would not be read
    back as it is, for example because it has a comma.
    """
    unique = frozenset(tags)
    if len(unique) > MOST_TAGS or not all(is_label(tag) for tag in unique):
        return None
    if unique != tags_in(_SEPARATOR.join(unique)):
        return None
    return Tagging(namespace, unique) if not namespace or is_label(namespace) else None


def is_label(text: str) -> bool:
    """Whether something may be the name of a namespace or, with no comma in it, a tag."""
    return 0 < len(text.encode()) <= LONGEST


def tags_in(value: str) -> frozenset[str]:
    """Read a list of tags, as the header writes it and as they are stored."""
    return frozenset(tag for item in value.split(_SEPARATOR) if (tag := item.strip(_WHITE)))


def tags_text(tags: Iterable[str]) -> str:
    """Return tags as one text, sorted, separated by commas."""
    return _SEPARATOR.join(sorted(tags))


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
