"""Whether two words may be the same word: inflections, typing errors, abbreviations."""

import re
from collections.abc import Sequence

from app.matching.guards.evidence import Term
from app.matching.guards.lexing import Kind

_LEAST_SHARED = 4  # letters
_LONGEST_OVERLAP = 2  # letters that two endings may have in common at their beginning
_SHORTEST_WITH_A_SLIP = 4  # letters; a shorter word with one other letter is another word
_SHORTEST_WITH_A_CHANGE = 5
_SHORTEST_WITHOUT_TWO = 8
_MOST_LEFT_OUT = 2
_BEGINNING = 3  # letters that two forms of a name share: `Quora`, `Quorans`
_LONGEST_CUT = 6  # letters
_LONGEST_WHOLE = 64  # letters of a name that are searched for an abbreviation of it
_INITIALS = range(2, 6)
_ENDINGS = re.compile(
    r"s|es|e?d|ing|t?ed|ting|e?rs?|ors?|e?st|ions?|ations?|ments?|ly|al|ally|ive|y|ies|ied|ity|ness"
    r"|able|e|[ea]nces?|ces?|[ea]nt|ful|ists?|ism|ic|ical|ian|ish|ous|e?n|ern|em|te|ten|t|[ao]s?|x|aux|cy|tly|"
)


def are_related(x: Term, y: Term) -> bool:
    """Whether two terms may be the same word, judged by their letters.

    The terms need not have a common class of synonyms.
    """
    if x.word[0] != y.word[0] or x.kind is not Kind.WORD or y.kind is not Kind.WORD:
        return False
    return _inflects(x.word, y.word) or _is_slip(x.word, y.word)


def are_written_alike(x: Sequence[Term], y: Sequence[Term]) -> bool:
    """Whether two groups of words differ only by spaces or a typing error.

    The result is also True if one group consists of the initials of the words of the other group.
    """
    left, right = "".join(term.word for term in x), "".join(term.word for term in y)
    return (
        _is_slip(left, right)
        or left == "".join(term.word[0] for term in y)
        or right == "".join(term.word[0] for term in x)
    )


def may_be_the_same(x: Sequence[Term], y: Sequence[Term]) -> bool:
    """Whether two names may mean the same thing.

    This is so if the names are spelled alike, if some of their words begin alike, or if one name
    abbreviates the other.
    """
    if are_written_alike(x, y):
        return True
    if not {term.word[:_BEGINNING] for term in x}.isdisjoint(term.word[:_BEGINNING] for term in y):
        return True
    left, right = "".join(term.word for term in x), "".join(term.word for term in y)
    return any(_is_cut_from(term.word, right) for term in x) or any(
        _is_cut_from(term.word, left) for term in y
    )


def _is_cut_from(short: str, long: str) -> bool:
    """Whether `short` abbreviates `long`.

    This is so if `long` ends with `short`. It is also so if both begin with the same letter and
    `long` contains the letters of `short` in the same order.
    """
    if len(short) > _LONGEST_CUT:
        return False
    left = iter(long[:_LONGEST_WHOLE])
    is_within = short[0] == long[0] and all(letter in left for letter in short)
    return is_within or long.endswith(short)


def is_short_for(name: Term, words: Sequence[str]) -> bool:
    """Whether a name consists of the initials of consecutive words in `words`.

    Example: `OS`, `operating system`.
    """
    if not (name.is_name or name.is_acronym) or len(name.word) not in _INITIALS:
        return False
    return name.word in "".join(word[0] for word in words)


def _inflects(x: str, y: str) -> bool:
    """Whether two words have the same stem, each with an ending from the list of endings."""
    if x == f"{y}s" or y == f"{x}s":
        return True
    most = min(len(x), len(y))
    shared = next((i for i in range(most) if x[i] != y[i]), most)
    return any(
        _ENDINGS.fullmatch(x, stem) and _ENDINGS.fullmatch(y, stem)
        for stem in range(shared, max(shared - _LONGEST_OVERLAP, _LEAST_SHARED) - 1, -1)
    )


def _is_slip(x: str, y: str) -> bool:
    """Whether two words differ only by what may be a typing error.

    A typing error changes one letter, leaves out one letter, or exchanges two adjacent letters. In
    long words, it may also leave out two adjacent letters. A missing first letter is not a typing
    error: `typical` and `atypical` are different words.
    """
    short, long = sorted((x, y), key=len)
    more = len(long) - len(short)
    if x == y or more > _MOST_LEFT_OUT or len(short) < _SHORTEST_WITH_A_SLIP:
        return x == y
    at = next((i for i, (p, q) in enumerate(zip(short, long, strict=False)) if p != q), len(short))
    if more:
        is_long = more == 1 or len(short) >= _SHORTEST_WITHOUT_TWO
        return at > 0 and is_long and short[at:] == long[at + more :]
    if short[at + 1 :] == long[at + 1 :]:
        return len(short) >= _SHORTEST_WITH_A_CHANGE
    return short[at : at + 2] == long[at : at + 2][::-1] and short[at + 2 :] == long[at + 2 :]
