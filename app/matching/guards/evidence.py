"""The features of a text that the guards compare, extracted once for each text."""

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
"""Units that may stand before their number: `$5`."""

UNITS = load_units("units") | CURRENCIES

_ONE = Decimal(1)
_BRIEF = 2  # letters


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit, which is empty if the text names none.

    `is_of_a_thing`: it belongs to the name before it, as in `Python 3` or `Android 6.0`.
    `is_a_bound`: a comparison precedes it, as in `after 6` or `under 15000`.
    `zeros`: the number of leading zeros if they make it a code, not an amount (`007`); else 0.
    """

    value: Decimal
    unit: str = ""
    is_of_a_thing: bool = False
    is_a_bound: bool = False
    zeros: int = 0

    @property
    def amount(self) -> "Amount":
        """The value to compare numbers by: equal for `1.50` and `1.5`, not for `007` and `07`."""
        return self.value, self.zeros


Amount = tuple[Decimal, int]
"""A number's value, and how many leading zeros it has if it is a code."""


class Term(NamedTuple):
    """A word that carries meaning, a number, or a piece that must match letter for letter.

    `classes`: its classes of synonyms, or else its stem; terms that share one count as equal.
    `is_acronym`: it consists of three or more capitals, in a text that is not all in capitals.
    """

    word: str
    classes: tuple[str, ...]
    kind: Kind = Kind.WORD
    is_name: bool = False
    is_common: bool = False
    is_acronym: bool = False

    @property
    def key(self) -> str:
        """The first of its classes, by which it is compared first."""
        return self.classes[0]

    @property
    def is_abbreviation(self) -> bool:
        """Whether it is a rare word of two letters, such as the code of an airline."""
        return self.kind is Kind.WORD and len(self.word) == _BRIEF and not self.is_common

    def is_in(self, words: frozenset[str]) -> bool:
        """Whether a text's `words` contain it or one of its classes."""
        return self.word in words or not words.isdisjoint(self.classes)

    def is_like(self, other: "Term") -> bool:
        """Whether two terms are the same word or share a class."""
        if self.word == other.word or self.key in other.classes:
            return True
        return len(self.classes) > 1 and not set(self.classes).isdisjoint(other.classes)


class Evidence(NamedTuple):
    """The features of one text that the guards compare.

    - `text`: `raw` in lower case with plain quotes. `letters`: `raw` without white space.
    - `encoded`: words in which case matters. `sentences`: the words of each sentence.
    - `language`: None if unknown. `lexicon`: the word lists; None if there are none for the text.
    - `frame`: every word in order. `terms`: those that carry meaning. `words`: the terms with all
      their classes. `plain`: the words of the frame that carry no meaning.
    - `vague_numbers`: number words that may mean no number. `verbatims`: pieces such as `a.txt`.
    - `negations`: their number. `denied`: the words that a negation applies to.
    - `is_softened`: it has a word that may stand for a negation (`fails`), or has `or not`.
    - `alternatives`: the alternatives that the text names, by group.
    - `narrowing`: groups in which naming an alternative changes the question even if the other
      text names none. `narrowing_requests`: the same, but only if both texts ask for things.
    - `ways`: the words after `from`, after `to`, and the two (`first`, `second`) after `between`.
    - `is_request`: it asks for things, as in `all trains to Ghent`.
    - `codes`: words that mix letters and digits. `numbers`: the numbers in the frame.
    - `rows`: numbers that follow one another, as in `4111 1111 1111 1111`.
    - `payload`: the parts that the text's task is about, verbatim.
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
    """Return the base unit of a quantity, and its amount in that unit."""
    base, factor = UNITS.get(quantity.unit, (quantity.unit, _ONE))
    with exactly():
        return base, (quantity.value * factor, quantity.zeros)


@contextmanager
def exactly() -> Iterator[None]:
    """In a `with` block, calculate with decimals of any length without rounding; do not divide."""
    with localcontext(Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)):
        yield
