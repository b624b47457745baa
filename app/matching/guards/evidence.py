"""What a text says that another must say too, gathered once."""

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, localcontext
from typing import NamedTuple

from app.matching.guards.codes import Row
from app.matching.guards.lexicon import Lexicon, Place, load_units
from app.matching.guards.lexing import Kind
from app.matching.payload import Payload

CLOCK = "clock"
"""The unit of times of day, whose value is in minutes since midnight."""

CURRENCIES = load_units("currencies")
"""Those that may stand before their number."""

UNITS = load_units("units") | CURRENCIES

_ONE = Decimal(1)
_BRIEF = 2  # letters


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and what it counts; `unit` is empty where none is told.

    `zeros` is how many it begins with, where that makes it a code and no amount: `007`.

    `is_of_a_thing` says that it follows a word that it tells more of: `Python 3`, `Android 6.0`;
    `is_a_bound` that a comparison precedes it: `after 6`, `under 15000`.
    """

    value: Decimal
    unit: str = ""
    is_of_a_thing: bool = False
    is_a_bound: bool = False
    zeros: int = 0

    @property
    def amount(self) -> "Amount":
        """What makes it the same number as another one: `1.50` and `1.5`, not `007` and `07`."""
        return self.value, self.zeros


Amount = tuple[Decimal, int]
"""A number, and the zeros that it begins with where it is a code."""


class Term(NamedTuple):
    """A word that carries meaning, a number, or a piece that is taken letter by letter.

    `classes` names what it may stand for; the first is its key. `is_acronym` says that it has
    three or more capitals and nothing else, in a text that is not all so.
    """

    word: str
    classes: tuple[str, ...]
    kind: Kind = Kind.WORD
    is_name: bool = False
    is_common: bool = False
    is_acronym: bool = False

    @property
    def key(self) -> str:
        """The one name under which it is compared first."""
        return self.classes[0]

    @property
    def is_abbreviation(self) -> bool:
        """Whether it is so short and rare that it names something: an airline, an airport."""
        return self.kind is Kind.WORD and len(self.word) == _BRIEF and not self.is_common

    def is_in(self, words: frozenset[str]) -> bool:
        """Whether it stands in a text, under any of its names."""
        return self.word in words or not words.isdisjoint(self.classes)

    def is_like(self, other: "Term") -> bool:
        """Whether two terms share a name."""
        if self.word == other.word or self.key in other.classes:
            return True
        return len(self.classes) > 1 and not set(self.classes).isdisjoint(other.classes)


class Evidence(NamedTuple):
    """All that the guards look at.

    `text` is `raw` in lower case, its quotes made plain, `letters` is it without white space, and
    `encoded` are its words in which case counts.

    `language` is None where nothing tells it, `lexicon` where no list fits it. `frame` is every
    word in order, `terms` those that carry meaning, `words` all under all their names, `plain` the
    words of the frame that carry none. `denied` is what negations reach. `alternatives` gives by
    guard and group which of the alternatives are named, `narrowing` those places whose naming
    alone changes the question, `narrowing_requests` those where it does if either text is a
    request, `ways` by `from` and `to` what follows. `is_request` says that it asks for things,
    or for what is told of them: `all trains to Ghent`. `codes` are the words in which letters and
    digits take turns, `numbers` those of the frame, `rows` what follows one another in the text:
    `4111 1111 1111 1111`. `payload` is what it has something done to, letter by letter;
    `sentences` are all words of each.
    """

    raw: str
    letters: str
    encoded: frozenset[str]
    text: str
    script: str
    language: str | None
    lexicon: Lexicon | None
    frame: tuple[str, ...]
    terms: tuple[Term, ...]
    words: frozenset[str]
    plain: Set[str]
    quantities: tuple[Quantity, ...]
    vague_numbers: Set[Decimal]
    quotes: frozenset[str]
    verbatims: Set[str]
    codes: Set[str]
    numbers: Set[str]
    rows: Set[Row]
    negations: int
    denied: Set[str]
    is_softened: bool
    alternatives: Mapping[Place, Set[str]]
    narrowing: Set[Place]
    narrowing_requests: Set[Place]
    ways: Mapping[str, Set[str]]
    is_request: bool
    payload: Payload
    sentences: tuple[tuple[str, ...], ...]


def in_base_unit(quantity: Quantity) -> tuple[str, Amount]:
    """Return the base that a quantity measures in, and how many of it there are."""
    base, factor = UNITS.get(quantity.unit, (quantity.unit, _ONE))
    with exactly():
        return base, (quantity.value * factor, quantity.zeros)


@contextmanager
def exactly() -> Iterator[None]:
    """Calculate with decimal numbers of any length without rounding; nothing may be divided."""
    with localcontext(Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)):
        yield
