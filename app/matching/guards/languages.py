"""Which script and language a text is in."""

from collections import Counter
from collections.abc import Iterable

from app.matching.guards.lexicon import load_markers

LATIN = "latin"
_OTHER = "other"
_BLOCKS = (  # the last code point of each
    (0x024F, LATIN),
    (0x036F, _OTHER),
    (0x03FF, "greek"),
    (0x052F, "cyrillic"),
    (0x058F, "armenian"),
    (0x05FF, "hebrew"),
    (0x077F, "arabic"),
    (0x08FF, _OTHER),
    (0x097F, "devanagari"),
    (0x0DFF, "indic"),
    (0x0E7F, "thai"),
    (0x1DFF, _OTHER),
    (0x1EFF, LATIN),
    (0x2FFF, _OTHER),
    (0x30FF, "kana"),
    (0x9FFF, "han"),
    (0xABFF, _OTHER),
    (0xD7AF, "hangul"),
)
_MARKERS = load_markers()


def script_of(text: str) -> str:
    """Return the script of most letters; only scripts that divide languages are told apart.

    Japanese counts as `kana` wherever it has any.
    """
    if text.isascii():
        return LATIN
    counts = Counter(_script(ord(letter)) for letter in text if letter.isalpha())
    if not counts:
        return LATIN
    return "kana" if counts["kana"] else max(counts, key=counts.__getitem__)


def _script(code: int) -> str:
    return next((script for last, script in _BLOCKS if code <= last), _OTHER)


def language_of(words: Iterable[str]) -> str | None:
    """Return the language by the small words that only one language has, or None if in doubt."""
    votes: dict[str, int] = {}
    for word in words:
        language = _MARKERS.get(word)
        if language is not None:
            votes[language] = votes.get(language, 0) + 1
    if len(votes) <= 1:
        return next(iter(votes), None)
    first = max(votes, key=votes.__getitem__)
    return first if votes[first] * 3 > sum(votes.values()) * 2 else None
