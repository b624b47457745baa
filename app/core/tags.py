"""The labels that callers give their entries: a namespace, and tags.

Operators look up entries by label, so no label is ever changed or dropped. If a request has too
many labels, or a label that is too long, all labels of the request are refused.
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
    """The namespace and tags (surrogate keys) of an entry. `namespace` is empty if it has none."""

    namespace: str = ""
    tags: frozenset[str] = frozenset()

    def cover(self, asked: "Tagging") -> bool:
        """Whether an entry with these labels has all tags of `asked`, the labels of a request.

        Namespaces are not compared. They are part of the partition, which has matched already.
        """
        return asked.tags <= self.tags

    def joined(self, other: "Tagging") -> "Tagging":
        """Return a copy with the tags of `other` added.

        If there would be too many tags, return this Tagging unchanged.
        """
        tags = self.tags | other.tags
        return Tagging(self.namespace, tags) if len(tags) <= MOST_TAGS else self


UNTAGGED = Tagging()


def tagging_of(headers: Iterable[tuple[bytes, bytes]]) -> Tagging | None:
    """Return the labels in a request's headers; None if `checked_labels` refuses the labels."""
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
    """Return a namespace and tags as one value; None if the labels are refused.

    All labels are refused if there are more than 32 tags, if a tag is empty, or if a label is too
    long. They are also refused if a tag contains a comma, or begins or ends with white space,
    because `tags_in` could not read such a tag.
    """
    unique = frozenset(tags)
    if len(unique) > MOST_TAGS or not all(is_label(tag) for tag in unique):
        return None
    if unique != tags_in(_SEPARATOR.join(unique)):
        return None
    return Tagging(namespace, unique) if not namespace or is_label(namespace) else None


def is_label(text: str) -> bool:
    """Whether a text has a valid length for a label: 1 to 256 bytes of UTF-8."""
    return 0 < len(text.encode()) <= LONGEST


def tags_in(value: str) -> frozenset[str]:
    """Return the tags in a comma-separated text, such as a value of the header `x-cache-tags`."""
    return frozenset(tag for item in value.split(_SEPARATOR) if (tag := item.strip(_WHITE)))


def tags_text(tags: Iterable[str]) -> str:
    """Return tags as one text, sorted and separated by commas."""
    return _SEPARATOR.join(sorted(tags))


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
