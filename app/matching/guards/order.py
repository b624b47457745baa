"""Texts with the same words in another order: two words exchanged, or one moved."""

from typing import NamedTuple

from app.matching.guards.evidence import Evidence
from app.matching.guards.lexicon import Lexicon

_MOST_MOVED = 64  # words
_TWO = 2

Words = tuple[str, ...]


def are_swapped(a: Evidence, b: Evidence) -> bool:
    """Whether `b` is `a` with two parts exchanged around a third part: `X m Y` and `Y m X`."""
    if len(a.frame) != len(b.frame) or a.frame == b.frame:
        return False
    start, end = common_ends(a.frame, b.frame)
    x, y = a.frame[start : len(a.frame) - end], b.frame[start : len(b.frame) - end]
    if len(x) > _MOST_MOVED or sorted(x) != sorted(y):
        return False
    for first in range(1, len(x)):
        if x[:first] != y[len(y) - first :]:
            continue
        for last in range(1, len(x) - first):
            between = x[first : len(x) - last]
            if x[len(x) - last :] != y[:last] or between != y[last : len(y) - first]:
                continue
            after = a.frame[len(a.frame) - end :]
            stands_alone = start + end == 0 and a.plain.isdisjoint(between)
            if not stands_alone and not _is_symmetric(between, after, a.lexicon):
                return True
    return False


def _is_symmetric(between: Words, after: Words, lexicon: Lexicon | None) -> bool:
    """Whether the words `between` only join two parts, so that swapping the parts changes nothing.

    The words `after` follow the second part. The word `and` in `red wine and white wine` only
    joins. So does the word `is`.
    """
    if lexicon is None or lexicon.passive.issuperset(between):
        return True
    at = next((at for at, word in enumerate(between) if word in lexicon.joints), None)
    return at is not None and after[:at] == between[:at]


def are_exchanged(a: Evidence, b: Evidence) -> bool:
    """Whether two words are exchanged while all other words that carry meaning keep their places.

    Example: `Convert miles to feet`, `I convert feet to miles`. The result is False for `red and
    white` and `white and red`.
    """
    if a.lexicon is None or len(a.terms) != len(b.terms):
        return False
    moved = [at for at, (x, y) in enumerate(zip(a.terms, b.terms, strict=True)) if not x.is_like(y)]
    if len(moved) != _TWO:
        return False
    first, last = moved
    if not (a.terms[first].is_like(b.terms[last]) and a.terms[last].is_like(b.terms[first])):
        return False
    one, other = (_part(text, first, last, a.lexicon) for text in (a, b))
    if max(len(one.between), len(other.between)) > _MOST_MOVED:
        return False
    is_between = one.between == other.between and not a.plain.isdisjoint(one.between)
    is_all_else = _are_alike(one, other, a.lexicon) and (
        last - first > _TWO or _are_led_alike(one.between, other.between, a.lexicon)
    )
    return (is_between or is_all_else) and not any(_joins(each, a.lexicon) for each in (one, other))


class _Parts(NamedTuple):
    """The words of a text before, between and after two of its terms, without articles."""

    before: Words
    between: Words
    after: Words


def _part(text: Evidence, first: int, last: int, lexicon: Lexicon) -> _Parts:
    """Split a text at two of its terms. The result does not contain these two terms.

    `first` and `last` are the indexes of the two terms.
    """
    places: list[int] = []
    for term in text.terms[: last + 1]:
        places.append(text.frame.index(term.key, places[-1] + 1 if places else 0))
    left, right = places[first], places[last]
    parts = (text.frame[:left], text.frame[left + 1 : right], text.frame[right + 1 :])
    return _Parts(*(_without_articles(words, lexicon) for words in parts))


def _are_alike(one: _Parts, other: _Parts, lexicon: Lexicon) -> bool:
    """Whether two texts begin and end alike, and have the same voice (active or passive)."""
    before = [
        [word for word in each.before if word not in lexicon.helpers] for each in (one, other)
    ]
    has_agent = [lexicon.agents.isdisjoint(each.between) for each in (one, other)]
    is_same = before[0] == before[1] and one.after == other.after
    return bool(one.before and other.before) and is_same and has_agent[0] == has_agent[1]


def _are_led_alike(x: Words, y: Words, lexicon: Lexicon) -> bool:
    """Whether `x` and `y` end with the same word, or with two words for the same direction.

    Examples of such words are `to` and `into`.
    """
    one, other = ([lexicon.look_up(word).way or word for word in words[-1:]] for words in (x, y))
    return one == other


def _joins(parts: _Parts, lexicon: Lexicon) -> bool:
    """Whether the words between two terms only join them: `a warm bath or a cold bath`."""
    if lexicon.passive.issuperset(parts.between):
        return True
    before, between, after = (_of_weight(words, lexicon) for words in parts)
    for at in (at for at, word in enumerate(between) if word in lexicon.joints):
        own, others = between[:at], between[at + 1 :]
        if after[: len(own)] == own and before[len(before) - len(others) :] == others:
            return True
    return False


def _without_articles(words: Words, lexicon: Lexicon) -> Words:
    return tuple(word for word in words if word not in lexicon.articles)


def _of_weight(words: Words, lexicon: Lexicon) -> Words:
    """Return `words` without function words (`the`), but keep those that join or exclude (`or`)."""
    known = ((word, lexicon.look_up(word)) for word in words)
    return tuple(
        w
        for w, told in known
        if told.is_joint or told.negates or told.members or not told.is_function
    )


def have_other_operands(a: Evidence, b: Evidence) -> bool:
    """Whether two texts have the same numbers in another order, and the same words between them.

    Example: `5 minus 3`, `3 minus 5`. The result is False if the words only join the numbers: `3 or
    5`.
    """
    x, y = _from_number_to_number(a), _from_number_to_number(b)
    if x == y or len(x) > _MOST_MOVED or sorted(x) != sorted(y):
        return False
    between, others = ([word for word in words if word not in a.numbers] for words in (x, y))
    joints = a.lexicon.joints if a.lexicon else frozenset()
    return between == others and (not between or not joints.issuperset(between))


def _from_number_to_number(text: Evidence) -> Words:
    """Return the words of a text from its first number to its last number."""
    places = [at for at, word in enumerate(text.frame) if word in text.numbers]
    return text.frame[places[0] : places[-1] + 1] if places else ()


def qualifies_another(a: Evidence, b: Evidence) -> bool:
    """Whether a word has moved from one occurrence of a noun to another occurrence of that noun.

    Example: `Can a nurse marry a male nurse?`, `Can a male nurse marry a nurse?`. The result is
    False if the occurrences are only joined: `a nurse or a male nurse`.
    """
    if a.lexicon is None:
        return False
    one, other = (_without_articles(text.frame, a.lexicon) for text in (a, b))
    start, end = common_ends(one, other)
    if not start or not end or len(one) != len(other):
        return False
    x, y = one[start : len(one) - end], other[start : len(other) - end]
    word, over = (x[0], x[1:]) if x[1:] == y[:-1] else (y[0], y[1:])
    if {x, y} != {(word, *over), (*over, word)} or over[:1] != (one[-end],):
        return False
    of_weight = {term.key for term in a.terms}
    if over[0] not in of_weight or a.lexicon.joints.intersection(over):
        return False
    return len(over) > 1 and (word in of_weight or a.lexicon.look_up(word).negates)


def common_ends(a: Words, b: Words) -> tuple[int, int]:
    """Return how many words two texts have in common at the beginning, and at the end."""
    most = min(len(a), len(b))
    start = next((i for i in range(most) if a[i] != b[i]), most)
    end = next((i for i in range(most - start) if a[-1 - i] != b[-1 - i]), most - start)
    return start, end
