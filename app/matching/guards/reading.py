"""Extracts the Evidence of a text in one pass over its words."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType

from app.core.models import Guard
from app.matching.guards.clauses import sentences_of
from app.matching.guards.codes import codes_of, rows_of
from app.matching.guards.evidence import CLOCK, CURRENCIES, UNITS, Evidence, Quantity, Term, exactly
from app.matching.guards.languages import LATIN, language_of, script_of
from app.matching.guards.lexicon import LANGUAGES, Lexicon, Narrowing, Place, Word, load
from app.matching.guards.lexing import Kind, Piece, pieces, quoted, straighten
from app.matching.guards.requests import asks_for_things
from app.matching.guards.writing import encoded_words, letters_of
from app.matching.payload import payload_of

_UNKNOWN = "en"  # the language assumed if the words do not tell it
_REACH = 5  # words after a negation that it applies to
_MERIDIEMS = MappingProxyType({"am": 0, "pm": 720})
_PARTS_OF_DAY = MappingProxyType({"morning": 0, "afternoon": 720, "evening": 720, "tonight": 720})
_LEADING = (frozenset({"in", "this"}), frozenset({"the"}))
_MORNING_HOURS = frozenset(range(1, 13))
_HOUR = 60  # minutes
_NOON = 12 * _HOUR
_HOURS = 24
_DAY = _HOURS * _HOUR
_YEARS = range(1900, 2100)
_TENS = frozenset(range(20, 100, 10))  # a set: `in` on a range is slow for a Decimal
_ONES = frozenset(range(10))
_AND = frozenset({"and"})
_HALF_YEARS = frozenset(range(10, 21))  # `nineteen` of `nineteen eighty-four`
_ZERO, _TEN = Decimal(0), 10
_CENTURY = 100
_FEWEST_CAPITALS = 4  # words with a capital that a title has at least
_FEWEST_SHOUTED = 3  # words
_SHORTEST_CODE = 3  # digits; in shorter numbers a leading zero has no meaning: `07:30`, May 07
_LONG = 3  # letters; shorter words may be initials
_TITLE = 0.7  # least share of words with a capital in a title


def examine(text: str) -> Evidence:
    """Return the Evidence of a text. It depends only on the text, so it may be cached."""
    straight = straighten(text)
    found = pieces(straight)
    script = script_of(straight)
    texts = [piece.text for piece in found]
    language = language_of(texts) if script == LATIN else None
    read_as = language or _UNKNOWN
    lexicon = load(read_as) if script == LATIN and read_as in LANGUAGES else None
    with exactly():
        notes = _Reader(found, lexicon or load(_UNKNOWN)).read()
    is_request = lexicon is not None and asks_for_things(texts, lexicon)
    names = [name for term in notes.terms for name in (term.word, *term.classes)]
    return Evidence(
        raw=text,
        letters=letters_of(text),
        encoded=encoded_words(text),
        text=straight.lower(),
        script=script,
        language=language,
        lexicon=lexicon,
        frame=tuple(notes.frame),
        terms=tuple(notes.terms),
        words=frozenset(names).union(notes.frame),
        plain=notes.plain,
        quantities=tuple(notes.quantities),
        vague_numbers=notes.vague_numbers,
        quotes=quoted(straight),
        verbatims=notes.verbatims,
        codes=codes_of(straight),
        numbers={term.key for term in notes.terms if term.kind is Kind.NUMBER},
        rows=rows_of(straight),
        negations=notes.negations,
        denied=notes.denied,
        is_softened=notes.is_softened,
        alternatives=notes.alternatives,
        narrowing=notes.narrowing,
        narrowing_requests=notes.narrowing_requests,
        ways=notes.ways,
        is_request=is_request,
        payload=payload_of(text),
        sentences=sentences_of(straight),
    )


@dataclass(slots=True)
class _Notes:
    """The features read so far; the fields are those of Evidence."""

    frame: list[str] = field(default_factory=list)
    terms: list[Term] = field(default_factory=list)
    plain: set[str] = field(default_factory=set)
    quantities: list[Quantity] = field(default_factory=list)
    vague_numbers: set[Decimal] = field(default_factory=set)
    verbatims: set[str] = field(default_factory=set)
    negations: int = 0
    denied: set[str] = field(default_factory=set)
    is_softened: bool = False
    alternatives: defaultdict[Place, set[str]] = field(default_factory=lambda: defaultdict(set))
    narrowing: set[Place] = field(default_factory=set)
    narrowing_requests: set[Place] = field(default_factory=set)
    ways: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


class _Reader:
    """Walks through the pieces of one text."""

    def __init__(self, found: Sequence[Piece], lexicon: Lexicon) -> None:
        self._pieces = found
        self._lexicon = lexicon
        self._notes = _Notes()
        self._reach = 0  # how many more words a negation reaches
        self._way: str | None = None  # `from` or `to` if the next term follows such a word
        self._is_shouted = _is_shouted(found)

    def read(self) -> _Notes:
        lexicon = self._lexicon
        at = 0
        while at < len(self._pieces):
            piece = self._pieces[at]
            text, taken = self._phrase(at) if piece.text in lexicon.beginnings else (piece.text, 1)
            if piece.kind is Kind.VERBATIM:
                self._verbatim(piece.text)
            elif taken == 1 and (piece.kind is Kind.NUMBER or text in lexicon.numbers):
                taken = self._number(at)
            else:
                self._word(at, text, taken)
            at += taken
        self._forget_capitals_of_titles()
        return self._notes

    def _phrase(self, at: int) -> tuple[str, int]:
        """Return the longest known phrase at a piece, or else the piece; and how many pieces."""
        text = self._pieces[at].text
        for rest, phrase in self._lexicon.phrases.get((text, self._text(at + 1)), ()):
            if all(self._text(at + 2 + i) == word for i, word in enumerate(rest)):
                return phrase, 2 + len(rest)
        return text, 1

    def _word(self, at: int, text: str, taken: int) -> None:
        notes = self._notes
        piece = self._pieces[at]
        word = self._lexicon.look_up(text)
        is_name = piece.is_capital and self._is_name(at, text)
        if word.members:
            self._compare(word, is_name, word.asks and self._asks_nothing(at, taken))
        if word.negates and self._completes_a_choice(at):
            notes.is_softened = True
        elif word.knows and self._reach > 0:
            notes.negations -= 1
            self._reach = 0
        elif word.negates:
            notes.negations += 1
            self._reach = _REACH
        if word.softens:
            notes.is_softened = True
        if not word.is_function:
            is_acronym = piece.is_acronym and not self._is_shouted
            is_rare = is_acronym and not self._lexicon.knows_common_words
            is_common = word.is_common and not is_rare
            term = Term(text, word.classes, Kind.WORD, is_name, is_common, is_acronym)
            self._add(term, word.is_light)
            self._way = word.way or self._way
            return
        notes.frame.append(text)
        notes.plain.add(text)
        self._reach -= 1
        if word.way is not None:
            self._way = word.way
        elif word.is_joint and "first" in notes.ways:
            self._way = "second"

    def _is_name(self, at: int, text: str) -> bool:
        """Whether a word with a capital is a name, rather than the first word of a sentence."""
        titles = self._lexicon.titles
        if len(text) <= 1 or text in titles:
            return False
        return not self._pieces[at].begins or self._text(at - 1) in titles  # as in `Dr. No`

    def _asks_nothing(self, at: int, taken: int) -> bool:
        """Whether a question word asks no question of its own.

        A question word at the end of a sentence only asks for details: `Is it? Why?`. Inside a
        sentence, a question word asks a question only if a verb follows at once. In `what to do
        when it rains`, `when` asks nothing.
        """
        if at == 0:
            return False
        if at + taken >= len(self._pieces) or self._pieces[at + taken].begins:
            return True
        return not self._pieces[at].begins and self._text(at + taken) not in self._lexicon.asking

    def _completes_a_choice(self, at: int) -> bool:
        """Whether `not` is only half of a choice: `whether or not it is`, `is it or not?`."""
        if self._text(at - 1) not in self._lexicon.joints:
            return False
        is_last = at + 1 >= len(self._pieces) or self._pieces[at + 1].begins
        return is_last or self._text(at - 2) == "whether"

    def _compare(self, word: Word, is_name: bool = False, asks_nothing: bool = False) -> None:
        notes = self._notes
        for member in word.members:
            place = member.place
            if (member.needs_capital and not is_name) or (
                asks_nothing and place[0] is Guard.QUESTIONS
            ):
                continue
            notes.alternatives[place].add(member.name)
            if member.narrows is Narrowing.EVERYWHERE:
                notes.narrowing.add(place)
            elif member.narrows is Narrowing.IN_REQUESTS:
                notes.narrowing_requests.add(place)

    def _verbatim(self, text: str) -> None:
        word = self._lexicon.look_up(text)
        self._compare(word)
        if not word.members:
            self._notes.verbatims.add(text)
        self._add(Term(text, (text,), Kind.VERBATIM))

    def _add(self, term: Term, is_light: bool = False) -> None:
        notes = self._notes
        notes.frame.append(term.key)
        if self._reach > 0:
            notes.denied.add(term.key)
            self._reach = 0
        if is_light:
            return
        notes.terms.append(term)
        if self._way is not None:
            notes.ways[self._way].add(term.key)
            self._way = None

    def _number(self, at: int) -> int:
        """Read the number at a piece, and return how many pieces the number takes.

        Afterwards, the number's unit is read again as a word.
        """
        notes, lexicon = self._notes, self._lexicon
        value, taken = self._value(at)
        unit, value, more = self._unit(at, at + taken, value)
        word = self._pieces[at].text
        if word in lexicon.vague and taken == 1 and not unit:
            self._compare(lexicon.look_up(word))
            notes.vague_numbers.add(value)
            notes.frame.append(word)
            return 1
        before = notes.frame[-1] if notes.frame else ""
        if not unit and _is_year(value):
            before = ""
        last = notes.terms[-1] if notes.terms else None
        is_of_a_thing = last is not None and last.kind is not Kind.NUMBER and before == last.key
        is_a_bound = before in lexicon.comparing
        zeros = _zeros(word) if taken + more == 1 else 0
        notes.quantities.append(Quantity(value, unit, is_of_a_thing, is_a_bound, zeros))
        written = _written(value)
        self._add(Term(written, (written,), Kind.NUMBER))
        return taken + more

    def _value(self, at: int) -> tuple[Decimal, int]:
        """Return the value of the number at a piece, and how many pieces the number takes."""
        multipliers = self._lexicon.multipliers
        piece = self._pieces[at]
        if piece.kind is not Kind.NUMBER:
            return self._in_words(at)
        value, taken = self._year(at, self._lexicon.parse(piece.text)), 1
        while (times := multipliers.get(self._text(at + taken))) is not None:
            value *= times
            taken += 1
        return value, taken

    def _in_words(self, at: int) -> tuple[Decimal, int]:
        """Return the value of a number in words (`one hundred`), and how many pieces it takes."""
        multipliers = self._lexicon.multipliers
        part, taken = self._below_hundred(at)
        if part in _HALF_YEARS and taken == 1 and self._text(at + 1) in self._lexicon.numbers:
            more, length = self._below_hundred(at + 1)
            if _TEN <= more < _CENTURY:
                return part * _CENTURY + more, 1 + length
        whole = _ZERO
        while (times := multipliers.get(self._text(at + taken))) is not None:
            taken += 1
            if times <= _CENTURY:
                part *= times
            else:
                whole, part = (whole + part * times if part else whole * times), _ZERO
            after = at + taken + (self._text(at + taken) in _AND)
            if self._is_exact(after):
                more, length = self._below_hundred(after)
                part += more
                taken = after + length - at
        return whole + part, taken

    def _is_exact(self, at: int) -> bool:
        """Whether the piece is a number word that is not vague."""
        word = self._text(at)
        return word in self._lexicon.numbers and word not in self._lexicon.vague

    def _below_hundred(self, at: int) -> tuple[Decimal, int]:
        """Return the value of one or two number words (`twenty one`), and how many there are."""
        numbers = self._lexicon.numbers
        value = numbers[self._text(at)]
        if value in _TENS and numbers.get(self._text(at + 1)) in _ONES:
            return value + numbers[self._text(at + 1)], 2
        return value, 1

    def _year(self, at: int, value: Decimal) -> Decimal:
        """Return `value`, or the year that it abbreviates: `17` in `2016-17` means 2017."""
        quantities = self._notes.quantities
        if not quantities or self._pieces[at - 1].kind is not Kind.NUMBER:
            return value
        after = quantities[-1].value + 1
        return after if _is_year(after) and after % _CENTURY == value else value

    def _unit(self, first: int, after: int, value: Decimal) -> tuple[str, Decimal, int]:
        """Return a number's unit, the value in that unit, and how many more pieces belong to it.

        Only a time of day has more pieces, such as `:30 pm` in `5:30 pm`.
        """
        following = self._text(after)
        if following == ":" and after + 1 < len(self._pieces):
            value = value * _HOUR + self._lexicon.parse(self._text(after + 1))
            meridiem = _MERIDIEMS.get(self._text(after + 2))
            if meridiem is None or value >= _DAY:
                return CLOCK, value, 2
            return CLOCK, value % _NOON + meridiem, 3
        if following in _MERIDIEMS and value <= _HOURS:
            return CLOCK, value * _HOUR % _NOON + _MERIDIEMS[following], 1
        if value in _MORNING_HOURS and (told := self._part_of_day(after)):
            return CLOCK, value * _HOUR % _NOON + told[0], told[1]
        if following in UNITS:
            return following, value, 0
        before = self._text(first - 1)
        return before if before in CURRENCIES else "", value, 0

    def _part_of_day(self, after: int) -> tuple[int, int] | None:
        """Return the minutes that words such as `in the evening` add, and how many words these are.

        The result is None if there are no such words at `after`.
        """
        length = 0
        while length < len(_LEADING) and self._text(after + length) in _LEADING[length]:
            length += 1
        meridiem = _PARTS_OF_DAY.get(self._text(after + length))
        return None if meridiem is None else (meridiem, length + 1)

    def _text(self, at: int) -> str:
        return self._pieces[at].text if 0 <= at < len(self._pieces) else ""

    def _forget_capitals_of_titles(self) -> None:
        """Unmark all names if the text is a title, or if its language capitalises all nouns."""
        names = sum(term.is_name for term in self._notes.terms)
        if not names:
            return
        words = [term for term in self._notes.terms if term.kind is Kind.WORD]
        is_title = names >= _FEWEST_CAPITALS and names > len(words) * _TITLE
        if is_title or self._lexicon.has_capital_nouns:
            self._notes.terms = [term._replace(is_name=False) for term in self._notes.terms]


def _is_year(value: Decimal) -> bool:
    return _YEARS.start <= value < _YEARS.stop and value == value.to_integral_value()


def _zeros(digits: str) -> int:
    """Return how many leading zeros a number has if it may be a code (`007`); else 0."""
    if len(digits) < _SHORTEST_CODE or not digits.isdecimal():
        return 0
    return len(digits) - len(_written(Decimal(digits)))


def _written(value: Decimal) -> str:
    """Return a number as text; equal numbers give equal texts."""
    written = f"{value:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def _is_shouted(found: Sequence[Piece]) -> bool:
    """Whether most words of a text are in capitals, so that capitals do not mark acronyms."""
    words = [piece for piece in found if piece.kind is Kind.WORD and len(piece.text) >= _LONG]
    shouted = sum(piece.is_acronym for piece in words)
    return shouted >= _FEWEST_SHOUTED and 2 * shouted > len(words)
