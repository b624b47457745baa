"""The guards: each looks for one kind of proof that two texts do not ask the same.

A guard that cannot judge abstains. A proof is a point on which both texts say something different.
If one text merely leaves something out, that proves nothing, unless the rest is the same.
"""

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import takewhile

from app.core.models import Guard
from app.matching.guards.clauses import says_more, wishes_more
from app.matching.guards.codes import are_in_another_order, has_own_code
from app.matching.guards.evidence import Evidence, Term, in_base_unit
from app.matching.guards.lexicon import Lexicon, load_loanwords
from app.matching.guards.lexing import Kind
from app.matching.guards.likeness import (
    are_related,
    are_written_alike,
    is_short_for,
    may_be_the_same,
)
from app.matching.guards.order import common_ends, have_other_operands
from app.matching.guards.quantities import cancelled, have_other_units, measure_the_same
from app.matching.guards.roles import have_changed
from app.matching.guards.writing import differ_in_accents, differ_in_literal_space, has_own_encoding
from app.matching.payload import has

_MOST_REPLACED = 3  # words that differ in one place; more count as another wording
_WORDS = re.compile(r"\w+")
_MOST_COMPARED = 32  # terms that differ; more count as another wording
_SHORT = 24  # words
_MOST_ELSE = 4  # terms that only one text has, in texts that are close to each other
_SHARE = 0.35  # the same as a share of all terms, in longer texts
_MOST_NARROWING = 2  # terms that only one text has, the narrowing words included
_MOST_BESIDE = 1  # terms that only one text has, beside a denial or names; more: another wording
_SHORTEST_STEM = 4  # letters after a prefix that negates
_TERSE = 16  # words
_NOTHING: frozenset[str] = frozenset()
_LOANWORDS = load_loanwords()


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two texts, and the terms that only `a` has (`left`) or only `b` has (`right`)."""

    a: Evidence
    b: Evidence
    left: list[Term]
    right: list[Term]

    @property
    def rest(self) -> int:
        """The number of terms that only one of the two texts has."""
        return len(self.left) + len(self.right)

    @property
    def is_close(self) -> bool:
        """Whether so few terms differ that each of them matters."""
        return self.rest <= _MOST_ELSE

    @property
    def is_mostly_the_same(self) -> bool:
        """Whether few terms differ, compared with the length of the texts."""
        return self.is_close or self.rest <= _SHARE * (len(self.a.terms) + len(self.b.terms))

    @property
    def asks_for_things(self) -> bool:
        """Whether both texts ask for things in few words, so that each word selects things."""
        both = self.a.is_request and self.b.is_request
        return both and self.is_close and _are_short(self.a, self.b)


def refusal(a: Evidence, b: Evidence) -> Guard | None:
    """Return the first guard that proves that two texts ask for different answers.

    Return None if no guard proves this.
    """
    return next(_firing(a, b), None)


def refusals(a: Evidence, b: Evidence) -> tuple[Guard, ...]:
    """Return all guards that prove that two texts ask for different answers."""
    return tuple(dict.fromkeys(_firing(a, b)))


def _firing(a: Evidence, b: Evidence) -> Iterator[Guard]:
    pair = _Pair(a, b, *_leftovers(a, b))
    yield from (guard for guard, differs in _IN_ANY_LANGUAGE if differs(pair))
    if a.lexicon is None or a.lexicon is not b.lexicon:
        return
    if pair.is_close:
        yield from _alternatives(pair)
    yield from (guard for guard, differs in _IN_A_KNOWN_LANGUAGE if differs(pair))


def _leftovers(a: Evidence, b: Evidence) -> tuple[list[Term], list[Term]]:
    left = [term for term in a.terms if not term.is_in(b.words)]
    right = [term for term in b.terms if not term.is_in(a.words)]
    if not left or not right or max(len(left), len(right)) > _MOST_COMPARED:
        return left, right
    related = {term for x in left for y in right if are_related(x, y) for term in (x, y)}
    return (
        [term for term in left if term not in related and not is_short_for(term, b.frame)],
        [term for term in right if term not in related and not is_short_for(term, a.frame)],
    )


def _languages(pair: _Pair) -> bool:
    a, b = pair.a, pair.b
    if a.script != b.script:
        return True
    return a.language is not None and b.language is not None and a.language != b.language


def _writing(pair: _Pair) -> bool:
    a, b = pair.a, pair.b
    if has_own_encoding(a.encoded, b.encoded, b.raw):
        return True
    if has_own_encoding(b.encoded, a.encoded, a.raw):
        return True
    if differ_in_accents(_written(a), _written(b), _LOANWORDS):
        return True
    return a.letters == b.letters and differ_in_literal_space(a.raw, b.raw)


def _written(text: Evidence) -> set[str]:
    return {word for sentence in text.sentences for word in sentence}


def _payload(pair: _Pair) -> bool:
    """Whether one text has a payload (the text that a task is about) that the other text lacks."""
    return not (has(pair.b.raw, pair.a.payload) and has(pair.a.raw, pair.b.payload))


def _numbers(pair: _Pair) -> bool:
    a, b = pair.a, pair.b
    if not a.quantities and not b.quantities:
        return False
    if are_in_another_order(a.rows, b.rows) or have_other_operands(a, b):
        return True
    left, right = cancelled(a.quantities, b.quantities, lambda quantity: quantity.amount)
    left, right = cancelled(left, right, in_base_unit)
    if len(a.quantities) != len(b.quantities):  # with equal counts, each number has a counterpart
        left = [quantity for quantity in left if quantity.value not in b.vague_numbers]
        right = [quantity for quantity in right if quantity.value not in a.vague_numbers]
    if not pair.is_mostly_the_same:
        return len(a.quantities) == len(b.quantities) and measure_the_same(left, right)
    if (left and right) or ((left or right) and pair.asks_for_things):
        return True
    if _are_short(a, b) and any(quantity.is_a_bound for quantity in (*left, *right)):
        return True
    return any(quantity.is_of_a_thing for quantity in (*left, *right)) and all(
        term.kind is Kind.NUMBER for term in (*pair.left, *pair.right)
    )


def _are_short(a: Evidence, b: Evidence) -> bool:
    """Whether both texts are so short that each word of them narrows the question."""
    return max(len(a.frame), len(b.frame)) <= _SHORT


def _units(pair: _Pair) -> bool:
    return have_other_units(pair.a, pair.b)


def _quotes(pair: _Pair) -> bool:
    a, b = pair.a, pair.b
    left, right = _has_own_quote(a, b), _has_own_quote(b, a)
    return (left and right) or ((left or right) and pair.asks_for_things)


def _has_own_quote(one: Evidence, other: Evidence) -> bool:
    if not one.quotes:
        return False
    words = {*_WORDS.findall(other.text), *one.plain}
    return any(not words.issuperset(_WORDS.findall(quote)) for quote in one.quotes)


def _identifiers(pair: _Pair) -> bool:
    a, b = pair.a, pair.b
    if all(has_own_code(x.codes, y.codes, y.letters) for x, y in ((a, b), (b, a))):
        return True
    left, right = a.verbatims - b.words, b.verbatims - a.words
    if not pair.is_close:  # one may be a longer form of the other: `read_csv`, `pd.read_csv`
        left, right = _without_shared_parts(left, right), _without_shared_parts(right, left)
    return bool((left and (right or _has_own_quote(b, a))) or (right and _has_own_quote(a, b)))


def _without_shared_parts(verbatims: Set[str], others: Set[str]) -> set[str]:
    """Return the `verbatims` that share no word with `others`. Numbers do not count as words."""
    parts = {part for other in others for part in _WORDS.findall(other) if not part.isdecimal()}
    return {text for text in verbatims if parts.isdisjoint(_WORDS.findall(text))}


def _alternatives(pair: _Pair) -> Iterator[Guard]:
    """Yield a guard if the two texts contain words of the guard's list that exclude each other.

    If the texts are short and differ in little else, one narrowing word in one text is enough.
    """
    a, b = pair.a, pair.b
    guards = {
        place[0]
        for place, names in a.alternatives.items()
        if (others := b.alternatives.get(place)) and names - others and others - names
    }
    if pair.rest <= _MOST_NARROWING and _are_short(a, b):
        guards |= _narrowing(a, b, pair) | _narrowing(b, a, pair)
        if _have_other_dates(a, b):
            guards.add(Guard.DATES)
    yield from sorted(guards)


def _have_other_dates(a: Evidence, b: Evidence) -> bool:
    """Whether both texts name dates, but not the same ones: `Monday`, `Monday or Friday`."""
    return any(
        place[0] is Guard.DATES and names != b.alternatives.get(place, names)
        for place, names in a.alternatives.items()
    )


def _narrowing(one: Evidence, other: Evidence, pair: _Pair) -> set[Guard]:
    """Return the guards of the groups that narrow `one` and of which `other` has no word."""
    narrowing = one.narrowing
    if pair.asks_for_things:
        narrowing = narrowing | one.narrowing_requests
    return {place[0] for place in narrowing if place not in other.alternatives}


def _clauses(pair: _Pair) -> bool:
    """Whether only one text has a clause that may change the answer or that says how to answer."""
    a, b = pair.a, pair.b
    if says_more(a, b) or says_more(b, a):
        return True
    left, right = ([term.word for term in own] for own in (pair.left, pair.right))
    return wishes_more(a, left) or wishes_more(b, right)


def _negation(pair: _Pair) -> bool:
    if _is_prefixed(pair) or _denies_another_word(pair.a, pair.b):
        return True
    if pair.rest > _MOST_BESIDE:
        return False
    return _denies(pair.a, pair.b) or _denies(pair.b, pair.a)


def _denies(denying: Evidence, affirming: Evidence) -> bool:
    """Whether `denying` negates a word that `affirming` uses without a negation."""
    if denying.negations <= 0 or affirming.negations > 0 or affirming.is_softened:
        return False
    return any(word in affirming.words for word in denying.denied - affirming.denied)


def _denies_another_word(a: Evidence, b: Evidence) -> bool:
    """Whether two texts with the same words negate different words.

    Example: `buried, not burnt`, `burnt, not buried`. The result is False for `no milk or eggs` and
    `no eggs or milk`. It is False for `is it not open` and `isn't it open`, too, because there the
    negation does not move past another verb.
    """
    if a.lexicon is None or not 0 < a.negations == b.negations or a.denied == b.denied:
        return False
    if sorted(a.frame) != sorted(b.frame):
        return False
    start, end = common_ends(a.frame, b.frame)
    x, y = (_affirmed(text.frame[start : len(text.frame) - end], a.lexicon) for text in (a, b))
    if x == y:
        return not (a.lexicon.joints | a.lexicon.asking).isdisjoint(x)
    return _affirms(a, b.denied - a.denied) and _affirms(b, a.denied - b.denied)


def _affirmed(words: Sequence[str], lexicon: Lexicon) -> list[str]:
    return [word for word in words if not lexicon.look_up(word).negates]


def _affirms(text: Evidence, words: Set[str]) -> bool:
    """Whether one of `words` stands before the first negation of a text."""
    known = text.lexicon.look_up if text.lexicon else None
    affirmed = takewhile(lambda word: not (known and known(word).negates), text.frame)
    return not words.isdisjoint(affirmed)


def _is_prefixed(pair: _Pair) -> bool:
    if not pair.is_close or (pair.a.negations - pair.b.negations) % 2:
        return False  # `not valid` means `invalid`, and two negations cancel out
    left = {term.word for term in pair.left}
    right = {term.word for term in pair.right}
    prefixes = pair.a.lexicon.prefixes if pair.a.lexicon else ()
    return any(_is_denial(word, right, prefixes) for word in left) or any(
        _is_denial(word, left, prefixes) for word in right
    )


def _is_denial(word: str, others: set[str], prefixes: tuple[str, ...]) -> bool:
    """Whether a word is one of `prefixes` plus one of `others`: `unhappy` is `un` plus `happy`."""
    return any(
        word.startswith(prefix)
        and len(word) - len(prefix) >= _SHORTEST_STEM
        and word[len(prefix) :] in others
        for prefix in prefixes
    )


def _names(pair: _Pair) -> bool:
    """Whether two texts differ in names.

    Each text must have a name that the other text lacks. If both texts ask for things, it is enough
    that one text has such a name. Common names, and names of different kinds, count only if little
    else differs.
    """
    if not pair.is_close:
        return False
    if _have_names_of_their_own(pair):
        return True
    left = [term for term in pair.left if term.is_name]
    right = [term for term in pair.right if term.is_name]
    others = pair.rest - len(left) - len(right)
    if left and right and others <= _MOST_BESIDE and not are_written_alike(left, right):
        return True
    codes = [any(term.is_abbreviation for term in terms) for terms in (pair.left, pair.right)]
    if all(codes) or not pair.asks_for_things or pair.rest > _MOST_NARROWING:
        return all(codes)
    if any(codes) or left or right:
        return True
    return _has_other_places(pair.a, pair.b) or _has_other_places(pair.b, pair.a)


def _has_other_places(one: Evidence, other: Evidence) -> bool:
    """Whether `one` names a place, a people or a language that `other` does not name."""
    return any(
        place[0] is Guard.NAMES and not names <= other.alternatives.get(place, _NOTHING)
        for place, names in one.alternatives.items()
    )


def _have_names_of_their_own(pair: _Pair) -> bool:
    """Whether each text has a rare name, or each has a rare acronym, that the other text lacks.

    In long texts only acronyms count, because the other text may simply leave a name out.
    """
    are_terse = max(len(pair.a.frame), len(pair.b.frame)) <= _TERSE
    left, right = (
        [term for term in own if term.is_acronym or (term.is_name and are_terse)]
        for own in (pair.left, pair.right)
    )
    kinds = ({term.is_acronym for term in names if not term.is_common} for names in (left, right))
    return bool(set.intersection(*kinds)) and not may_be_the_same(left, right)


def _roles(pair: _Pair) -> bool:
    return have_changed(pair.a, pair.b)


def _words(pair: _Pair) -> bool:
    """Whether two texts differ only by rare words in one place, such as names or special terms."""
    left, right = _replaced(pair.a.terms, pair.b.terms)
    if not left or not right or max(len(left), len(right)) > _MOST_REPLACED:
        return False
    if any(term.is_common or term.kind is Kind.NUMBER for term in (*left, *right)):
        return False
    if are_written_alike(left, right):
        return False
    if sum(common_ends(pair.a.frame, pair.b.frame)) + _MOST_REPLACED < min(
        len(pair.a.frame), len(pair.b.frame)
    ):
        return False
    return any(term in pair.left for term in left) and any(term in pair.right for term in right)


def _replaced(a: tuple[Term, ...], b: tuple[Term, ...]) -> tuple[list[Term], list[Term]]:
    """Return the terms of `a`, and those of `b`, between their common beginning and end."""
    most = min(len(a), len(b))
    start = next((i for i in range(most) if not a[i].is_like(b[i])), most)
    end = next((i for i in range(most - start) if not a[-1 - i].is_like(b[-1 - i])), most - start)
    return list(a[start : len(a) - end]), list(b[start : len(b) - end])


_IN_ANY_LANGUAGE = (
    (Guard.LANGUAGE, _languages),
    (Guard.WRITING, _writing),
    (Guard.PAYLOAD, _payload),
    (Guard.NUMBERS, _numbers),
    (Guard.UNITS, _units),
    (Guard.QUOTES, _quotes),
    (Guard.IDENTIFIERS, _identifiers),
)
_IN_A_KNOWN_LANGUAGE = (
    (Guard.CLAUSES, _clauses),
    (Guard.NEGATION, _negation),
    (Guard.NAMES, _names),
    (Guard.ROLES, _roles),
    (Guard.WORDS, _words),
)
