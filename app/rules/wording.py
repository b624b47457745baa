"""Helpers for rules that search texts for words: they shorten texts and read word lists.

`app/data/volatility/README.md` explains the format of the lists.
"""

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from app.matching.guards.lexing import plain, straighten

Phrase = tuple[str, ...]

_WORTH_READING = 2000  # characters
_CODE = re.compile(r"```.*?(?:```|$)|`[^`\n]*`", re.DOTALL)
_QUOTED = re.compile(r"\"[^\"\n]{1,200}\"|(?<!\w)'[^'\n]{1,200}'(?!\w)")
_TWO_WORDS = re.compile(r"\w\W+\w")


def what_is_asked(text: str) -> str:
    """Return the parts of a text that may contain its question, without code.

    These are the beginning and the end of the text.
    """
    # NFKC may have made the straightened text longer again.
    return _ends_of(straighten(_without(_CODE, _ends_of(text))))


def without_quotes(text: str) -> str:
    """Return a text without quoted passages.

    The text is returned unchanged if fewer than two words would be left.
    """
    return _without(_QUOTED, text)


def _ends_of(text: str) -> str:
    if len(text) <= 2 * _WORTH_READING:
        return text
    return f"{text[:_WORTH_READING]}\n{text[-_WORTH_READING:]}"


def _without(pattern: re.Pattern[str], text: str) -> str:
    """Return a text without the parts that match a pattern.

    The text is returned unchanged if fewer than two words would be left.
    """
    rest = pattern.sub(" ( ", text)
    return rest if _TWO_WORDS.search(rest) else text


def read_phrases(path: Path) -> Iterator[tuple[str, Phrase]]:
    """Yield two items for each phrase in a list file: the name of its section, and the phrase."""
    section = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            for entry in line.split():
                alternatives = [word.split("|") for word in entry.split("_")]
                for phrase in product(*alternatives):
                    yield section, tuple(map(plain, phrase))
