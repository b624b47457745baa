"""Which script and language a text is in."""

from collections import Counter
from collections.abc import Iterable, Set

from app.matching.guards.lexicon import load_doubtful, load_markers

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
_DOUBTFUL = load_doubtful()


def script_of(text: str) -> str:
    """Return the script to which most letters of a text belong, such as `latin` or `han`.

    The script of a text with any kana is `kana`, because Japanese texts have many Han characters,
    too. All scripts that do not help to tell languages apart have the name `other`.
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
    """Return the language of a text's words as a code such as `de`; None if it is unclear.

    A small word that only one language has, such as `und`, shows the language. Some of these words
    may occur in English texts, too: `car`, or the `m` of `3 m`. One of them alone is not enough.
    """
    found = [word for word in words if word in _MARKERS]
    votes = Counter(_MARKERS[word] for word in found)
    if len(votes) <= 1:
        language = next(iter(votes), None)
        return None if language != "en" and _is_doubtful(set(found)) else language
    first = max(votes, key=votes.__getitem__)
    return first if votes[first] * 3 > sum(votes.values()) * 2 else None


def _is_doubtful(found: Set[str]) -> bool:
    return len(found) == 1 and all(len(word) == 1 or word in _DOUBTFUL for word in found)
