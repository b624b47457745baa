"""What only the letters tell: accents, case inside encoded words, white space in quotes and code.

The shipped embedding model sees none of it: it puts everything in lower case, drops accents and
squeezes white space.
"""

import re
from collections.abc import Set

from app.matching.guards.lexing import plain

_HUMP = re.compile(r"[a-z0-9][A-Z]")
_FEWEST_HUMPS = 3
_WORD = re.compile(r"[A-Za-z0-9+/_-]+=*")
_MOST_ENCODED = 32  # words that another text has not; more are another text
_SPACE = re.compile(r"(?<!\s)\s++(?![?!.,;:])")  # `Valkey ?` is `Valkey?`
_LITERAL = re.compile('[\n"`\u201c\u201d\u00ab\u00bb]')  # not apostrophes


def encoded_words(text: str) -> frozenset[str]:
    """Return the words in which case counts, such as `aGVsbG8`."""
    if _HUMP.search(text) is None:
        return frozenset()
    words = _WORD.findall(text)
    return frozenset(word for word in words if len(_HUMP.findall(word)) >= _FEWEST_HUMPS)


def letters_of(text: str) -> str:
    """Return a text without white space, in lower case."""
    return "".join(text.split()).lower()


def has_own_encoding(words: frozenset[str], others: frozenset[str], other: str) -> bool:
    """Whether one of a text's encoded words stands in another text in another case only.

    `others` are the encoded words of that text. Of many words that are not among them none is
    looked for: the texts say something else.
    """
    words -= others
    if not words:
        return False
    if len(words) > _MOST_ENCODED:
        return True
    lower = other.lower()
    return any(word not in other and word.lower() in lower for word in words)


def differ_in_literal_space(a: str, b: str) -> bool:
    """Whether two texts of the same letters differ in white space that counts."""
    a, b = a.strip(), b.strip()
    if _SPACE.findall(a) == _SPACE.findall(b):
        return False
    return _LITERAL.search(a) is not None or _LITERAL.search(b) is not None


def differ_in_accents(words: Set[str], others: Set[str], loanwords: Set[str]) -> bool:
    """Whether a word of one text differs by its accents alone from one of the other: `résumé`.

    Not `café` and `cafe`: `loanwords` are those that are written either way.
    """
    left, right = words - others, others - words
    if not (left and right) or all(word.isascii() for word in (*left, *right)):
        return False
    return any(word not in loanwords for word in {*map(plain, left)} & {*map(plain, right)})
