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
    """A number and what it counts; `unit` is empty where none is given.

    `is_of_a_thing`: it belongs to the name before it, as in `Python 3` or `Android 6.0`.
    `is_a_bound`: a comparison precedes it, as in `after 6` or `under 15000`. `zeros` is how many
    zeros it begins with, where they make it a code rather than an amount: `007`.
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
    """A word that carries meaning, a number, or a piece that is compared letter by letter.

    `classes` are the words that it may stand for; the first is its key. `is_acronym`: it has three
    or more capitals and nothing else, in a text that is not all capitals.
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

    - `text`: `raw` in lower case with plain quotes; `letters`: that without white space; `encoded`:
      its words in which case counts; `sentences`: all words of each sentence.
    - `language`: None if nothing tells it; `lexicon`: None if no list fits the text.
    - `frame`: every word in order; `terms`: those that carry meaning; `words`: these under all
      their names; `plain`: the words of the frame that carry no meaning.
    - `denied`: the words that a negation reaches.
    - `alternatives`: by guard and group, those that are named; `narrowing`: groups of which naming
      one changes the question by itself; `narrowing_requests`: groups where it does so in a
      request.
    - `ways`: what follows `from`, and what follows `to`.
    - `is_request`: it asks for things, or for what is known of them: `all trains to Ghent`.
    - `codes`: words that mix letters and digits; `numbers`: those of the frame; `rows`: numbers
      that follow one another, `4111 1111 1111 1111`.
    - `payload`: the parts that its task is about, letter by letter.
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
    """Return the base unit of a quantity, and its amount in that."""
    base, factor = UNITS.get(quantity.unit, (quantity.unit, _ONE))
    with exactly():
        return base, (quantity.value * factor, quantity.zeros)


@contextmanager
def exactly() -> Iterator[None]:
    """Calculate with decimal numbers of any length without rounding; nothing may be divided."""
    with localcontext(Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)):
        yield
