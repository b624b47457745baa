"""Compares two answers without a model, to find out whether both say the same.

Answers to one question differ from run to run. So a single result of `compare` proves little.
Callers should count how often the result is WRONG. They should compare this count with the count
for the answers to identical requests.
"""

import json
import re
from collections.abc import Iterator, Set
from enum import StrEnum
from typing import Any

from app.matching.guards.evidence import Evidence, Term, in_base_unit
from app.matching.guards.reading import examine

_MOST = 8_000  # characters; only the beginning of each text, up to this length, is compared
_MOST_JSON = 100_000  # characters; the beginning of a larger JSON document is compared as text
_LONG = 40  # words; in shorter texts only facts are compared, not the share of common words
_ALIKE = 0.5  # least share of the words with meaning that are in both texts
_FENCED = re.compile(r"\s*```\w*\n(.*)```\s*", re.DOTALL)
_NUMBERING = re.compile(r"^[ \t]*[0-9]{1,3}[.)][ \t]", re.MULTILINE)
_AFFIRMING = frozenset({"yes", "ja", "oui", "sí", "si", "sì", "sim", "true", "correct"})
_DENYING = frozenset({"no", "nein", "non", "não", "nee", "false", "incorrect"})

_Path = tuple[str | int, ...]


class Agreement(StrEnum):
    """Whether two answers agree: RIGHT if they do, WRONG if they do not, OPEN if it is unclear."""

    RIGHT = "right"
    WRONG = "wrong"
    OPEN = "open"


def compare(one: str, other: str) -> Agreement:
    """Return WRONG if a fact differs in two answers, RIGHT if the answers agree, else OPEN.

    Facts are numbers, names, yes or no, and the values in JSON. Answers agree if they are equal.
    Long answers agree, too, if at least half of the words that carry meaning are in both.
    """
    if one == other:
        return Agreement.RIGHT if one.strip() else Agreement.OPEN
    documents = _parsed(one), _parsed(other)
    if all(isinstance(document, dict | list) for document in documents):
        return _compare_documents(*documents)
    return _compare_texts(one, other)


def _parsed(text: str) -> Any:
    if len(text) > _MOST_JSON:
        return None
    fenced = _FENCED.fullmatch(text)
    try:
        return json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return None


def _compare_documents(one: Any, other: Any) -> Agreement:
    a, b = dict(_leaves(one)), dict(_leaves(other))
    found = {_compare_values(a[path], b[path]) for path in a.keys() & b.keys()}
    if Agreement.WRONG in found:
        return Agreement.WRONG
    is_same = a.keys() == b.keys() and found <= {Agreement.RIGHT}
    return Agreement.RIGHT if is_same else Agreement.OPEN


def _leaves(document: Any) -> Iterator[tuple[_Path, Any]]:
    """Yield pairs (path, value) for the values of a document that are neither objects nor lists.

    A path consists of the names of members and the indexes of elements. The outermost comes first.
    """
    rest: list[tuple[_Path, Any]] = [((), document)]
    while rest:
        path, value = rest.pop()
        if isinstance(value, dict):
            rest += [((*path, name), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            rest += [((*path, place), inner) for place, inner in enumerate(value)]
        else:
            yield path, value


def _compare_values(one: Any, other: Any) -> Agreement:
    if not isinstance(one, str) or not isinstance(other, str):
        is_same = one == other and isinstance(one, bool) is isinstance(other, bool)
        return Agreement.RIGHT if is_same else Agreement.WRONG
    if len(one.split()) == len(other.split()) == 1:  # a label
        return Agreement.RIGHT if one.lower() == other.lower() else Agreement.WRONG
    return _compare_texts(one, other)


def _compare_texts(one: str, other: str) -> Agreement:
    a, b = (examine(_NUMBERING.sub("", text[:_MOST])) for text in (one, other))
    if one.split() == other.split() or a.letters == b.letters:
        return Agreement.RIGHT if a.frame else Agreement.OPEN
    if not a.frame or not b.frame:
        return Agreement.OPEN
    is_long = min(len(a.frame), len(b.frame)) >= _LONG
    if _facts_differ(a, b, is_long=is_long):
        return Agreement.WRONG
    return Agreement.RIGHT if is_long and _likeness(a, b) >= _ALIKE else Agreement.OPEN


def _facts_differ(a: Evidence, b: Evidence, *, is_long: bool) -> bool:
    """Whether two texts contradict each other in a number, a name, or yes and no.

    Numbers in short texts contradict each other if each text has a number that the other lacks.
    Numbers in long texts contradict each other if both texts have numbers, but no number in common.
    The same rules apply to names.
    """
    if _polarity(a) * _polarity(b) < 0:
        return True
    numbers = [{in_base_unit(quantity) for quantity in text.quantities} for text in (a, b)]
    if _are_other(numbers[0] - numbers[1], numbers[1] - numbers[0], *numbers, is_long=is_long):
        return True
    names = [{term for term in text.terms if term.is_name} for text in (a, b)]
    own = _without(names[0], b), _without(names[1], a)
    if _are_other(*own, *names, is_long=is_long):
        return True
    denies = bool(a.negations) is not bool(b.negations)
    return denies and not is_long and _likeness(a, b) >= _ALIKE


def _polarity(text: Evidence) -> int:
    first = text.frame[0]
    return (first in _AFFIRMING) - (first in _DENYING)


def _are_other(
    own: Set[Any], others: Set[Any], whole: Set[Any], others_whole: Set[Any], *, is_long: bool
) -> bool:
    if not own or not others:
        return False
    return not is_long or (len(own) == len(whole) and len(others) == len(others_whole))


def _without(names: Set[Term], text: Evidence) -> set[Term]:
    return {name for name in names if not name.is_in(text.words)}


def _likeness(a: Evidence, b: Evidence) -> float:
    """Return which share (0 to 1) of the words that carry meaning is in both texts."""
    common = sum(term.is_in(b.words) for term in a.terms)
    common += sum(term.is_in(a.words) for term in b.terms)
    return common / max(1, len(a.terms) + len(b.terms))
