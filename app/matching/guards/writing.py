"""Differences in letters: accents, case inside encoded words, white space in quotes and code.

The shipped embedding model cannot see such differences. It changes letters to lower case, drops
accents and treats any white space as one space.
"""

import re
from collections.abc import Set

from app.matching.guards.lexing import plain

_HUMP = re.compile(r"[a-z0-9][A-Z]")
_FEWEST_HUMPS = 3
_WORD = re.compile(r"[A-Za-z0-9+/_-]+=*")
_MOST_ENCODED = 32  # encoded words that only one text has; with more, the texts differ anyway
_SPACE = re.compile(r"(?<!\s)\s++(?![?!.,;:])")  # not before punctuation: `Valkey ?` is `Valkey?`
_LITERAL = re.compile('[\n"`\u201c\u201d\u00ab\u00bb]')  # not apostrophes


def encoded_words(text: str) -> frozenset[str]:
    """Return the words in which upper and lower case matter, such as `aGVsbG8` (base64)."""
    if _HUMP.search(text) is None:
        return frozenset()
    words = _WORD.findall(text)
    return frozenset(word for word in words if len(_HUMP.findall(word)) >= _FEWEST_HUMPS)


def letters_of(text: str) -> str:
    """Return a text without white space, in lower case."""
    return "".join(text.split()).lower()


def has_own_encoding(words: frozenset[str], others: frozenset[str], other: str) -> bool:
    """Whether `other` contains one of a text's encoded words, but only with different case.

    `words` are the encoded words of the first text, and `others` those of the text `other`. The
    result is also True if more than 32 of `words` are missing in `others`, because the texts differ
    anyway.
    """
    words -= others
    if not words:
        return False
    if len(words) > _MOST_ENCODED:
        return True
    lower = other.lower()
    return any(word not in other and word.lower() in lower for word in words)


def differ_in_literal_space(a: str, b: str) -> bool:
    """Whether two texts with the same letters differ in white space that matters."""
    a, b = a.strip(), b.strip()
    if _SPACE.findall(a) == _SPACE.findall(b):
        return False
    return _LITERAL.search(a) is not None or _LITERAL.search(b) is not None


def differ_in_accents(words: Set[str], others: Set[str], loanwords: Set[str]) -> bool:
    """Whether a word of one text differs from a word of the other text only by accents.

    Example: `resume`, `résumé`. Words in `loanwords`, such as `cafe`, do not count: they may be
    written with or without accents.
    """
    left, right = words - others, others - words
    if not (left and right) or all(word.isascii() for word in (*left, *right)):
        return False
    return any(word not in loanwords for word in {*map(plain, left)} & {*map(plain, right)})
