"""FT.CREATE: its arguments.

Texts of errors are those of valkey-search.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.valkey.errors import SearchError

_MOST_DIMENSIONS = 32768
_MOST_M = 2_000_000
_SEPARATOR = b","
_NUMBERS = {
    b"DIM": "dimensions",
    b"M": "m",
    b"EF_CONSTRUCTION": "ef_construction",
    b"EF_RUNTIME": "ef_runtime",
    b"INITIAL_CAP": "capacity",
    b"BLOCK_SIZE": "block_size",
}
_OF_ALGORITHM = {
    b"HNSW": {b"M", b"EF_CONSTRUCTION", b"EF_RUNTIME"},
    b"FLAT": {b"BLOCK_SIZE"},
}


@dataclass
class Vector:
    """The options of a vector field."""

    algorithm: bytes
    dimensions: int = 0
    m: int = 16
    ef_construction: int = 200
    ef_runtime: int = 10
    block_size: int = 1024
    capacity: int = 10240

    @property
    def size(self) -> int:
        """The size of one vector in bytes."""
        return 4 * self.dimensions


@dataclass
class Tag:
    """The options of a tag field."""

    separator: bytes = _SEPARATOR
    case_sensitive: bool = False

    def fold(self, tag: bytes) -> bytes:
        """Lower the case of ASCII letters, unless the field is case-sensitive."""
        return tag if self.case_sensitive else tag.lower()

    def tags_of(self, value: bytes) -> set[bytes]:
        """Split a stored value into tags."""
        return {self.fold(t) for tag in value.split(self.separator) if (t := tag.strip())}


@dataclass(frozen=True)
class Field:
    """One attribute: `kind` is a Tag, a Vector, or None for a number."""

    identifier: bytes
    attribute: bytes
    kind: Tag | Vector | None


@dataclass
class Definition:
    """The parsed arguments of FT.CREATE."""

    name: bytes
    prefixes: list[bytes] = field(default_factory=list)
    fields: dict[bytes, Field] = field(default_factory=dict)  # by attribute
    initial_scan: bool = True

    def covers(self, key: bytes) -> bool:
        return key.startswith(tuple(self.prefixes)) if self.prefixes else True

    @property
    def vector(self) -> Field | None:
        return next((f for f in self.fields.values() if isinstance(f.kind, Vector)), None)


class Words:
    """Arguments, read one by one."""

    def __init__(self, words: list[bytes]) -> None:
        self._words = words
        self._next = 0

    def __iter__(self) -> Iterator[bytes]:
        while self._next < len(self._words):
            yield self.take()

    def peek(self) -> bytes:
        """Return the next word in upper case, empty at the end."""
        return self._words[self._next].upper() if self._next < len(self._words) else b""

    def take(self) -> bytes:
        """Return the next word and advance."""
        if self._next >= len(self._words):
            raise SearchError("Missing argument")
        self._next += 1
        return self._words[self._next - 1]

    def accept(self, word: bytes) -> bool:
        """Advance if the next word is this one, ignoring case; return whether it is."""
        found = self.peek() == word
        self._next += found
        return found

    def number(self) -> int:
        """Return the next word as a number that is not negative."""
        return number_of(self.take())


def number_of(word: bytes) -> int:
    """Read a number that is not negative."""
    try:
        number = int(word)
    except ValueError:
        raise SearchError(
            f"`{word.decode(errors='replace')}` is not a valid numeric value"
        ) from None
    if number < 0:
        raise SearchError(f"`{number}` is outside acceptable bounds")
    return number


def parse_create(arguments: list[bytes], *, is_old: bool) -> Definition:
    """Parse the arguments of FT.CREATE. `is_old` is true of 1.0.x."""
    words = Words(arguments)
    definition = Definition(words.take())
    if words.accept(b"ON") and words.take().upper() != b"HASH":
        raise SearchError("JSON module is not loaded.")
    if words.accept(b"PREFIX"):
        definition.prefixes = [words.take() for _ in range(words.number())]
        if any(b"{" in prefix for prefix in definition.prefixes):
            raise SearchError("PREFIX argument(s) must not contain a hash tag")
    while not words.accept(b"SCHEMA"):
        _option(definition, words, is_old=is_old)
    for identifier in words:
        _add_field(definition, identifier, words)
    if not definition.fields:
        raise SearchError("Index schema must have at least one attribute")
    if is_old and definition.vector is None:
        raise SearchError("At least one attribute must be indexed as a vector")
    return definition


def _option(definition: Definition, words: Words, *, is_old: bool) -> None:
    option = words.take()
    match option.upper():
        case b"LANGUAGE" | b"SCORE":
            words.take()
        case b"NOOFFSETS":
            pass
        case b"SKIPINITIALSCAN" if not is_old:
            definition.initial_scan = False
        case b"FILTER":
            raise SearchError("The parameter `FILTER` is not supported")
        case _:
            raise SearchError(f"Unexpected parameter `{option.decode()}`, expecting `SCHEMA`")


def _add_field(definition: Definition, identifier: bytes, words: Words) -> None:
    attribute = words.take() if words.accept(b"AS") else identifier
    if attribute in definition.fields:
        raise SearchError(f"Duplicate field in schema - {attribute.decode()}")
    try:
        kind = _kind(words)
    except SearchError as error:
        raise SearchError(
            f"Invalid field type for field `{identifier.decode()}`: {error}"
        ) from None
    if isinstance(kind, Vector) and definition.vector is not None:
        raise SearchError("the stand-in knows indexes with one vector field only")
    definition.fields[attribute] = Field(identifier, attribute, kind)


def _kind(words: Words) -> Tag | Vector | None:
    match words.peek():
        case b"TAG":
            words.take()
            return _tag(words)
        case b"NUMERIC":
            words.take()
            words.accept(b"SORTABLE")
            return None
        case b"VECTOR":
            words.take()
            return _vector(words)
    raise SearchError(f"Unknown argument `{words.take().decode()}`")


def _tag(words: Words) -> Tag:
    tag = Tag()
    while words.peek() in (b"SEPARATOR", b"CASESENSITIVE", b"SORTABLE"):
        option = words.take().upper()
        if option == b"CASESENSITIVE":
            tag.case_sensitive = True
        elif option == b"SEPARATOR":
            tag.separator = words.take()
            if len(tag.separator) != 1:
                got = tag.separator.decode()
                raise SearchError(f"The separator must be a single character, but got `{got}`")
    return tag


def _vector(words: Words) -> Vector:
    algorithm = words.take().upper()
    if algorithm not in _OF_ALGORITHM:
        raise SearchError(f"Unknown argument `{algorithm.decode()}`")
    count = words.number()
    options = [words.take() for _ in range(count) if words.peek()]
    if len(options) < count:
        raise SearchError(
            f"Expected {count} parameters for {algorithm.decode()}"
            f" but got {len(options)} parameters."
        )
    vector, metric = _vector_options(algorithm, Words(options))
    if vector.dimensions < 0:
        raise SearchError("Missing dimensions parameter.")
    if metric is None:
        raise SearchError("Missing DISTANCE_METRIC parameter.")
    _check("The dimensions value", vector.dimensions, 0, _MOST_DIMENSIONS)
    _check("M", vector.m, 2, _MOST_M)
    return vector


def _vector_options(algorithm: bytes, words: Words) -> tuple[Vector, bytes | None]:
    vector, metric = Vector(algorithm, dimensions=-1), None
    allowed = _OF_ALGORITHM[algorithm] | {b"DIM", b"INITIAL_CAP"}
    for option in words:
        name = option.upper()
        if name in allowed:
            setattr(vector, _NUMBERS[name], words.number())
        elif name == b"TYPE":
            _only(b"FLOAT32", name, words)
        elif name == b"DISTANCE_METRIC":
            metric = _only(b"COSINE", name, words)
        else:
            raise SearchError(f"Unexpected argument `{option.decode()}`")
    return vector, metric


def _only(allowed: bytes, parameter: bytes, words: Words) -> bytes:
    where = f"Error parsing value for the parameter `{parameter.decode()}`"
    if not words.peek():
        raise SearchError(f"{where} - Missing argument")
    value = words.take()
    if value.upper() != allowed:
        raise SearchError(f"{where} - Unknown argument `{value.decode()}`")
    return value


def _check(what: str, value: int, above: int, most: int) -> None:
    side = "below minimum" if value <= above else "above maximum" if value > most else None
    if side is None:
        return
    bound = f"less than or equal to {most}." if above == 0 else f"cannot exceed {most}."
    raise SearchError(
        f"Invalid range: Value {side}; {what} must be a positive integer greater than {above}"
        f" and {bound}"
    )
