"""FT.SEARCH: its arguments.

Texts of errors are those of valkey-search.
"""

import re
from dataclasses import dataclass, field

from tests.valkey.errors import SearchError
from tests.valkey.schema import Words, number_of

_MOST_NEIGHBORS = 10_000
_MOST_EF_RUNTIME = 1_000_000
_LONGEST_QUERY = 10_240
_LONGEST_TIMEOUT = 60_000
_KNN_WORDS = 4  # [KNN k @field $vector
_VALUES = {b"LIMIT", b"RETURN", b"PARAMS", b"DIALECT", b"TIMEOUT"}
_IN_ALL = {b"LOCALONLY", b"NOCONTENT"}
_SINCE_1_1 = {b"ALLSHARDS", b"SOMESHARDS", b"CONSISTENT", b"INCONSISTENT", b"VERBATIM"}


@dataclass
class Knn:
    """The KNN part of a search. `alias` is the name of the distance."""

    most: int
    attribute: bytes
    blob: bytes
    alias: bytes


@dataclass
class Search:
    """A search. `timeout` is in seconds."""

    index: bytes
    filter: bytes = b"*"
    knn: Knn | None = None
    options: set[bytes] = field(default_factory=set)
    returned: list[tuple[bytes, bytes]] | None = None  # names, and the names in replies
    offset: int = 0
    limit: int = 10
    timeout: float = 50.0
    sort_by: bytes | None = None
    descending: bool = False
    unused: list[bytes] = field(default_factory=list)  # parameters

    @property
    def no_content(self) -> bool:
        return b"NOCONTENT" in self.options or self.returned == []


def parse_search(arguments: list[bytes], *, is_old: bool) -> Search:
    """Parse the arguments of FT.SEARCH. `is_old` is true of 1.0.x."""
    words = Words(arguments)
    search, query = Search(words.take()), words.take()
    params: dict[bytes, bytes] = {}
    if len(query) > _LONGEST_QUERY:
        raise SearchError(f"Query string is too long, max length is {_LONGEST_QUERY} bytes.")
    for word in words:
        option = word.upper()
        if option in _IN_ALL or (option in _SINCE_1_1 and not is_old):
            search.options.add(option)
        elif option == b"SORTBY" and not is_old:
            search.sort_by = words.take()
            search.descending = words.accept(b"DESC")
            words.accept(b"ASC")
        elif option in _VALUES:
            _value(search, params, option, words)
        else:
            raise SearchError(f"Unexpected argument `{word.decode(errors='replace')}`")
    _read_query(search, query, params, is_old=is_old)
    return search


def _value(search: Search, params: dict[bytes, bytes], option: bytes, words: Words) -> None:
    try:
        match option:
            case b"LIMIT":
                search.offset, search.limit = words.number(), words.number()
            case b"RETURN":
                search.returned = _returned([words.take() for _ in range(words.number())])
            case b"PARAMS":
                params.update(_params([words.take() for _ in range(words.number())]))
            case b"DIALECT":
                dialect = words.number()
            case b"TIMEOUT":
                search.timeout = words.number() / 1000
    except SearchError as error:
        if str(error) == "Missing argument":
            raise
        where = f"Error parsing value for the parameter `{option.decode()}`"
        raise SearchError(f"{where} - {error}") from None
    if option == b"DIALECT" and dialect not in (2, 3, 4):
        raise SearchError("DIALECT requires a non negative integer >=2 and <= 4")
    if search.timeout * 1000 > _LONGEST_TIMEOUT:
        raise SearchError(
            "TIMEOUT must be a positive integer greater than 0 and cannot exceed 60000."
        )


def _returned(words: list[bytes]) -> list[tuple[bytes, bytes]]:
    reading = Words(words)
    return [(name, reading.take() if reading.accept(b"AS") else name) for name in reading]


def _params(words: list[bytes]) -> dict[bytes, bytes]:
    if len(words) % 2:
        raise SearchError("Parameter count must be an even number.")
    params: dict[bytes, bytes] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name in params:
            raise SearchError(f"Parameter {name.decode()} is already defined.")
        params[name] = value
    return params


def _read_query(search: Search, query: bytes, params: dict[bytes, bytes], *, is_old: bool) -> None:
    search.filter, arrow, clause = query.partition(b"=>")
    unused = dict(params)
    if arrow:
        search.knn = _knn(clause.strip(), params, unused)
    elif is_old:
        raise SearchError("Invalid filter format. Missing `=>`")
    elif search.filter.strip() in (b"", b"*"):
        raise SearchError("Invalid query string syntax")
    search.unused = list(unused)


def _knn(clause: bytes, params: dict[bytes, bytes], unused: dict[bytes, bytes]) -> Knn:
    where, shown = "Error parsing vector similarity parameters:", clause.decode(errors="replace")

    def value(word: bytes) -> bytes:
        if not word.startswith(b"$"):
            return word
        if word[1:] not in params:
            raise SearchError(f"{where} Parameter {word[1:].decode()} not found.")
        unused.pop(word[1:], None)
        return params[word[1:]]

    if clause[:1] != b"[" or clause[-1:] != b"]":
        raise SearchError(f"{where} `{shown}`. Expecting ']' got '{shown[-1:]}'")
    words = re.sub(rb"\s+", b" ", clause[1:-1]).strip().split(b" ")
    if len(words) < _KNN_WORDS or words[2][:1] != b"@":
        got = words[2].decode() if len(words) > 2 else ""
        detail = f"Unexpected argument `{got}`. Expecting a vector field name, starting with '@'"
        raise SearchError(f"{where} `{shown}`. {detail}")
    try:
        most = number_of(value(words[1]))
        knn = Knn(most, words[2][1:], value(words[3]), b"__%b_score" % words[2][1:])
        rest = Words(words[_KNN_WORDS:])
        ef_runtime = number_of(value(rest.take())) if rest.accept(b"EF_RUNTIME") else 10
        knn.alias = rest.take() if rest.accept(b"AS") else knn.alias
    except SearchError as error:
        text = str(error)
        raise SearchError(text if text.startswith(where) else f"{where} {text}") from None
    _check("KNN parameter", most, _MOST_NEIGHBORS)
    _check("`EF_RUNTIME`", ef_runtime, _MOST_EF_RUNTIME)
    return knn


def _check(what: str, value: int, most: int) -> None:
    if not 0 < value <= most:
        side = "below minimum" if value < 1 else "above maximum"
        raise SearchError(
            f"Invalid range: Value {side}; {what} must be a positive integer greater than 0"
            f" and cannot exceed {most}."
        )
