"""Splits a text into pieces: words, numbers, and pieces that must match letter for letter."""

import re
import unicodedata
from enum import Enum, auto
from types import MappingProxyType
from typing import NamedTuple

_QUOTES = "\"'`\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb\u2039\u203a"
_OPENING = _QUOTES + "([<\u00bf\u00a1,;:"
_FULL_STOPS = ".!?:\u2026\u3002\uff1f\uff01"
_CLOSING = _QUOTES + _FULL_STOPS + ")]>,;\uff0c"
_CLOSING_OF_CALLS = _CLOSING + "("  # `rank()`
_STRAIGHT = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201b`\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"')
)
_SUBJECTS = frozenset(
    ("what", "who", "where", "when", "why", "how", "that", "this", "there", "here", "it")
) | {"he", "she"}
_CLITICS = frozenset(("s", "re", "ve", "ll", "d", "m", ""))
_ELISIONS = frozenset(("l", "d", "c", "j", "n", "s", "m", "t", "qu", "jusqu", "lorsqu", "puisqu"))
_WRITTEN = MappingProxyType({"US": "usa", "U.S": "usa"})  # in capitals only: not the word `us`
_SHORTEST_ACRONYM = 3  # letters

_MOST_MARKS = 30  # in a row
_MARKS = re.compile(rf"([^\w\s\x00-\x7f]{{{_MOST_MARKS}}})(?=[^\w\s\x00-\x7f])")
_JOINER = "\u034f"  # COMBINING GRAPHEME JOINER: normalisation moves no mark past it
_MOST_GROWTH = 4  # factor

_ABBREVIATION = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{0,2}")
_VERBATIM = re.compile(
    r"-{1,2}[^\W\d]"  # -r, --force
    r"|[~/*@\\][\w*]|\$[^\W\d]|\.\w"  # /etc, $HOME, *.txt, @name, .bashrc
    r"|.*(?:[_*\\~@#<={}|^]|\w\$|\$[^\W\d]|\$\{|://|\+\+)"  # snake_case, a@b, c++
    r"|[/~*]$|.*/.*/|.*\w/$|www\."  # a/b/c, dir/
    r"|[\w-]+\.(?:[a-z][a-z0-9]{0,4}|[A-Z][A-Z0-9]{0,4})$"  # a.txt, node.js
    r"|[\w-]+(?:\.[\w-]+){2,}$"  # 2.10.0, a.b.c
)
_PARTS = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|°[CF]|[%$€£₹¥¢]|(?<=\d):(?=\d)")
_QUOTED = re.compile(r"\"([^\"\n]{1,200})\"|(?<![\w'])'([^'\n]{1,200})'(?![\w'])")


class Kind(Enum):
    """The kind of a piece: a word, a number, or a piece that must match letter for letter."""

    WORD = auto()
    NUMBER = auto()
    VERBATIM = auto()


class Piece(NamedTuple):
    """A part of a text. `text` is in lower case unless case matters.

    `begins`: the piece is the first word of a sentence.
    `is_acronym`: the piece is a word of three or more letters, all capitals.
    """

    kind: Kind
    text: str
    is_capital: bool = False
    begins: bool = False
    is_acronym: bool = False


def straighten(text: str) -> str:
    """Return a text in Unicode's normal form NFKC, with straight quotes and apostrophes.

    If NFKC would make the text more than four times longer, NFC is used instead.
    """
    if text.isascii():
        return text.translate(_STRAIGHT) if "`" in text else text
    # CPython takes n² steps to sort n combining marks, so long rows are split (UAX #15 §13).
    parted = _MARKS.sub(rf"\1{_JOINER}", text)
    normal = unicodedata.normalize("NFKC", parted)
    if len(normal) > _MOST_GROWTH * len(parted):
        normal = unicodedata.normalize("NFC", parted)
    return normal.translate(_STRAIGHT)


def plain(word: str) -> str:
    """Return a word without accents."""
    decomposed = unicodedata.normalize("NFKD", word)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def quoted(text: str) -> frozenset[str]:
    """Return the quoted parts of a text, in lower case and without outer punctuation."""
    if '"' not in text and "'" not in text:
        return frozenset()
    found = (first or second for first, second in _QUOTED.findall(text))
    return frozenset(quote.lower().strip(" .,;:!?") for quote in found)


def pieces(text: str) -> list[Piece]:
    """Split a text at white space, and split its words at dashes and apostrophes.

    The text must be a result of `straighten`.
    """
    found: list[Piece] = []
    begins = True
    for raw in text.split():
        if raw.isalpha() and raw not in _WRITTEN:
            found.append(_word(raw, begins=begins))
            begins = False
            continue
        if raw == "&":
            found.append(Piece(Kind.WORD, "and"))
            continue
        bare = raw.lstrip(_OPENING).rstrip(_CLOSING_OF_CALLS)
        if bare:
            found += _split(bare, begins)
        begins = raw[-1] in _FULL_STOPS or (begins and not bare)
    return found


def _word(raw: str, *, begins: bool) -> Piece:
    is_acronym = len(raw) >= _SHORTEST_ACRONYM and raw.isupper()
    return Piece(Kind.WORD, raw.lower(), raw[0].isupper(), begins, is_acronym)


def _split(bare: str, begins: bool) -> list[Piece]:
    if bare in _WRITTEN:
        return [Piece(Kind.WORD, _WRITTEN[bare], is_capital=True, begins=begins)]
    if bare.isalpha():
        return [_word(bare, begins=begins)]
    if _ABBREVIATION.fullmatch(bare):
        return [_word(bare.replace(".", ""), begins=begins)]
    folded = bare.lower()
    if _VERBATIM.match(bare):
        return [Piece(Kind.VERBATIM, bare if bare[0] == "-" else folded)]
    if "'" in bare:
        return _contraction(bare, begins)
    return _parts(bare, begins)


def _contraction(bare: str, begins: bool) -> list[Piece]:
    """Split a word with an apostrophe.

    `isn't` becomes `is` and `not`, `they're` becomes `they`, and `O'Neil` becomes `oneil`.
    """
    folded = bare.lower()
    if folded.endswith("n't"):
        verb = {"ca": "can", "wo": "will", "sha": "shall"}.get(folded[:-3], folded[:-3])
        negation = Piece(Kind.WORD, "not")
        return [Piece(Kind.WORD, verb, begins=begins), negation] if verb else [negation]
    head, _, tail = folded.partition("'")
    if head in _ELISIONS:
        return _parts(bare.replace("'", " "), begins)
    parts = _parts(bare[: len(head)], begins)
    if tail == "s" and head in _SUBJECTS:
        return [*parts, Piece(Kind.WORD, "is")]
    if tail in _CLITICS:
        return parts
    return _parts(bare.replace("'", ""), begins)


def _parts(bare: str, begins: bool) -> list[Piece]:
    return [
        Piece(Kind.NUMBER, part) if part[0].isdecimal() else _word(part, begins=begins and at == 0)
        for at, part in enumerate(_PARTS.findall(bare))
    ]
