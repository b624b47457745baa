"""Finds numbers in a row, such as those of a bank card, and codes of letters and digits."""

import re
from collections.abc import Set

_ROW = re.compile(r"(?<!\d)\d++(?:(?: ?[-/\u2013] ?| )\d++)++")
_DIGITS = re.compile(r"\d+")
_SWITCH = re.compile(r"(?<=\d)(?=[a-z])|(?<=[a-z])(?=\d)")
_FEWEST_SWITCHES = 2  # changes between letters and digits in a code; `5km`, `mp3` have fewer
_AROUND = "\"'`()[]<>.,;:!?"

Row = tuple[str, ...]
"""Numbers that stand side by side in a text, without their leading zeros."""


def rows_of(text: str) -> frozenset[Row]:
    """Return the rows of a text: numbers with only a space, dash or slash between them.

    Examples are `4111 1111` and `5-3`.
    """
    found = (_DIGITS.findall(row) for row in _ROW.findall(text))
    return frozenset(tuple(digits.lstrip("0") for digits in row) for row in found)


def are_in_another_order(a: Set[Row], b: Set[Row]) -> bool:
    """Whether a row of `a` and a row of `b` have the same numbers in another order.

    Example: `4111 1112`, `1112 4111`.
    """
    left, right = ({tuple(sorted(row)) for row in rows} for rows in (a - b, b - a))
    return not left.isdisjoint(right)


def codes_of(text: str) -> frozenset[str]:
    """Return the words that mix letters and digits, such as `550e-84a1`, without their dashes."""
    bare = (raw.strip(_AROUND).replace("-", "").lower() for raw in text.split())
    return frozenset(word for word in bare if _is_code(word))


def _is_code(word: str) -> bool:
    if word.isalpha() or not (word.isascii() and word.isalnum()):
        return False
    return len(_SWITCH.findall(word)) >= _FEWEST_SWITCHES


def has_own_code(codes: Set[str], others: Set[str], letters: str) -> bool:
    """Whether one of a text's codes is missing in another text.

    `codes` are the codes of the first text, and `others` those of the other text. `letters` is the
    other text without white space. A code is not missing if the other text contains the same
    letters and digits, but with dashes or spaces in other places.
    """
    own = codes - others
    squeezed = letters.replace("-", "") if own else ""
    return any(code not in squeezed for code in own)
