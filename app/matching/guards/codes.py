"""Numbers and codes that count digit by digit: in which order, and with which letters between."""

import re
from collections.abc import Set

_ROW = re.compile(r"(?<!\d)\d++(?:(?: ?[-/\u2013] ?| )\d++)++")
_DIGITS = re.compile(r"\d+")
_SWITCH = re.compile(r"(?<=\d)(?=[a-z])|(?<=[a-z])(?=\d)")
_FEWEST_SWITCHES = 2  # fewer have `5km`, `mp3`
_AROUND = "\"'`()[]<>.,;:!?"

Row = tuple[str, ...]
"""Numbers that follow one another, without the zeros that they begin with."""


def rows_of(text: str) -> frozenset[Row]:
    """Return the numbers that only a space, a dash or a slash parts: `4111 1111`, `5-3`."""
    found = (_DIGITS.findall(row) for row in _ROW.findall(text))
    return frozenset(tuple(digits.lstrip("0") for digits in row) for row in found)


def are_in_another_order(a: Set[Row], b: Set[Row]) -> bool:
    """Whether numbers in a row have changed places: `4111 1112`, `1112 4111`."""
    left, right = ({tuple(sorted(row)) for row in rows} for rows in (a - b, b - a))
    return not left.isdisjoint(right)


def codes_of(text: str) -> frozenset[str]:
    """Return the words in which letters and digits take turns, without dashes: `550e-84a1`."""
    bare = (raw.strip(_AROUND).replace("-", "").lower() for raw in text.split())
    return frozenset(word for word in bare if _is_code(word))


def _is_code(word: str) -> bool:
    if word.isalpha() or not (word.isascii() and word.isalnum()):
        return False
    return len(_SWITCH.findall(word)) >= _FEWEST_SWITCHES


def has_own_code(codes: Set[str], others: Set[str], letters: str) -> bool:
    """Whether one of a text's codes is missing in another text, which has the codes `others`.

    `letters` are those of the other text, where the groups of a code may be separated in another
    way.
    """
    own = codes - others
    squeezed = letters.replace("-", "") if own else ""
    return any(code not in squeezed for code in own)
