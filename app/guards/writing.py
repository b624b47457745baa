"""What only the letters tell: case inside encoded words, white space inside quotes and code.

The shipped embedding model sees neither: it puts everything in lower case and squeezes white space.
"""

import re

_HUMP = re.compile(r"[a-z0-9][A-Z]")
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]*(?:[a-z0-9][A-Z][A-Za-z0-9+/_-]*){3}=*")
_SPACE = re.compile(r"\s+")
_LITERAL = re.compile('[\n"`\u201c\u201d\u00ab\u00bb]')  # not apostrophes


def encoded_words(text: str) -> frozenset[str]:
    """Give the words in which case counts, such as `aGVsbG8`."""
    if _HUMP.search(text) is None:
        return frozenset()
    return frozenset(_ENCODED.findall(text))


def letters_of(text: str) -> str:
    """Give a text without white space, in lower case."""
    return "".join(text.split()).lower()


def has_own_encoding(words: frozenset[str], other: str) -> bool:
    """Tell whether one of a text's encoded words stands in another text in another case only."""
    if not words:
        return False
    lower = other.lower()
    return any(word not in other and word.lower() in lower for word in words)


def differ_in_literal_space(a: str, b: str) -> bool:
    """Tell whether two texts of the same letters differ in white space that counts."""
    a, b = a.strip(), b.strip()
    if _SPACE.findall(a) == _SPACE.findall(b):
        return False
    return _LITERAL.search(a) is not None or _LITERAL.search(b) is not None
