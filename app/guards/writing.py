"""What only the letters tell: case inside encoded words, white space inside quotes and code.

The shipped embedding model sees neither: it puts everything in lower case and squeezes white space.
"""

import re

_ENCODED = re.compile(r"[A-Za-z0-9+/_-]*(?:[a-z0-9][A-Z][A-Za-z0-9+/_-]*){2}=*")
_SPACE = re.compile(r"\s+")
_LITERAL = re.compile("[\n\"'`\u201c\u201d\u2018\u2019\u00ab\u00bb]")  # quotes of all kinds


def are_written_apart(a: str, b: str) -> bool:
    """Tell whether two texts are the same but for case or white space that counts."""
    if a == b:
        return False
    return _has_own_encoding(a, b) or _has_own_encoding(b, a) or _differ_in_literal_space(a, b)


def _has_own_encoding(one: str, other: str) -> bool:
    """Tell whether a word such as `aGVsbG8` stands in the other text in another case only."""
    lower = other.lower()
    return any(
        word not in other and word.lower() in lower
        for word in (match[0] for match in _ENCODED.finditer(one))
    )


def _differ_in_literal_space(a: str, b: str) -> bool:
    a, b = a.strip(), b.strip()
    if _SPACE.sub("", a).lower() != _SPACE.sub("", b).lower():
        return False
    if _SPACE.findall(a) == _SPACE.findall(b):
        return False
    return _LITERAL.search(a) is not None or _LITERAL.search(b) is not None
