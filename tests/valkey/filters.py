"""The language of filters: tags, numeric ranges, and, or, not."""

import re

from tests.valkey.errors import SearchError
from tests.valkey.index import Index
from tests.valkey.schema import Tag

_SHORTEST_PREFIX = 2
_FIELD = re.compile(rb"@\s*(\w+)\s*:\s*")
_TAGS = re.compile(rb"\{((?:\\.|[^\\}])*)\}", re.DOTALL)
_RANGE = re.compile(rb"\[\s*(\(?)([^\s,\]]+)[\s,]+(\(?)([^\s,\]]+)\s*\]")
_ALTERNATIVE = re.compile(rb"((?:\\.|[^\\|])*\\?)(?:\||$)", re.DOTALL)
_EVERYTHING = {b"", b"*", b"(*)"}


def matching(index: Index, expression: bytes) -> set[bytes] | None:
    """Return the keys that a filter lets through, None for all. Raises SearchError."""
    if expression.strip() in _EVERYTHING:
        return None
    return _Filter(index, expression.strip()).keys()


class _Filter:
    def __init__(self, index: Index, expression: bytes) -> None:
        self._index = index
        self._text = expression
        self._at = 0

    def keys(self) -> set[bytes]:
        keys = self._either()
        if self._at < len(self._text):
            raise self._no_text()
        return keys

    def _either(self) -> set[bytes]:
        keys = self._both()
        while self._accept(b"|"):
            keys = keys | self._both()
        return keys

    def _both(self) -> set[bytes]:
        keys = self._term()
        while self._peek() not in b"|)":
            keys = keys & self._term()
        return keys

    def _term(self) -> set[bytes]:
        if self._accept(b"-"):
            return self._index.documents.keys() - self._term()
        if self._accept(b"("):
            if self._peek() == b")":
                where = f"at position {self._at + 1}: `)`"
                raise self._error(f"Unexpected character {where}")
            keys = self._either()
            if not self._accept(b")"):
                raise self._no_text()
            return keys
        if (field := _FIELD.match(self._text, self._at)) is None:
            raise self._no_text()
        self._at = field.end()
        return self._range(field[1]) if self._peek() == b"[" else self._tags(field[1])

    def _tags(self, attribute: bytes) -> set[bytes]:
        field = self._index.definition.fields.get(attribute)
        if self._peek() != b"{":
            raise self._no_text()
        if (match := _TAGS.match(self._text, self._at)) is None:
            raise self._error("Missing closing TAG bracket, '}'")
        if field is None or not isinstance(field.kind, Tag):
            raise self._error(f"`{attribute.decode()}` is not indexed as a tag field")
        self._at = match.end()
        alternatives = [found[1].strip() for found in _ALTERNATIVE.finditer(match[1])]
        return set().union(*(self._tag(attribute, field.kind, tag) for tag in alternatives))

    def _tag(self, attribute: bytes, kind: Tag, tag: bytes) -> set[bytes]:
        is_prefix = tag.endswith(b"*")
        if is_prefix:
            shown = f"Tag string `{tag.decode(errors='replace')}`"
            if tag.endswith(b"**"):
                raise self._error(f"{shown} ends with multiple *.")
            # An escaped star counts as a star, too.
            tag = tag[:-1]
            if len(tag) < _SHORTEST_PREFIX:
                raise self._error(f"{shown} is too short for prefix wildcard.")
        plain = re.sub(rb"\\(.?)", rb"\1", tag, flags=re.DOTALL)
        return self._index.tagged(attribute, kind.fold(plain), is_prefix=is_prefix)

    def _range(self, attribute: bytes) -> set[bytes]:
        field = self._index.definition.fields.get(attribute)
        if field is None or field.kind is not None:
            raise self._error(f"`{attribute.decode()}` is not indexed as a numeric field")
        if (match := _RANGE.match(self._text, self._at)) is None:
            raise self._error("Invalid number: ")
        self._at = match.end()
        above, low, below, high = match[1], float(match[2]), match[3], float(match[4])
        return {
            key
            for key, document in self._index.documents.items()
            if (number := document.numbers.get(attribute)) is not None
            and (number > low if above else number >= low)
            and (number < high if below else number <= high)
        }

    def _peek(self) -> bytes:
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _accept(self, character: bytes) -> bool:
        found = self._peek() == character
        self._at += found
        return found

    def _no_text(self) -> SearchError:
        return self._error("Index does not have any text field")

    def _error(self, detail: str) -> SearchError:
        shown = self._text.decode(errors="replace")
        return SearchError(f"Invalid filter expression: `{shown}`. {detail}")
