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
"""The unit of a time of day. The value is in minutes since midnight."""

CURRENCIES = load_units("currencies")
"""Units that may stand before their number: `$5`."""

UNITS = load_units("units") | CURRENCIES

_ONE = Decimal(1)
_BRIEF = 2  # letters


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and its unit. The unit is empty if the text names no unit.

    `is_of_a_thing`: the number belongs to the name before it, as in `Python 3` or `Android 6.0`.
    `is_a_bound`: a comparison precedes the number, as in `after 6` or `under 15000`.
    `zeros`: how many leading zeros a code such as `007` has; 0 for a number that is no code.
    """

    value: Decimal
    unit: str = ""
    is_of_a_thing: bool = False
    is_a_bound: bool = False
    zeros: int = 0

    @property
    def amount(self) -> "Amount":
        """The value by which numbers are compared.

        `1.50` and `1.5` have equal values; `007` and `07` do not.
        """
        return self.value, self.zeros


Amount = tuple[Decimal, int]
"""A number's value, and how many leading zeros it has: 0 if the number is no code."""


class Term(NamedTuple):
    """A word that carries meaning, a number, or a piece that must match letter for letter.

    `classes`: the classes of synonyms of the word, or the stem of the word if it has none. Terms
    with a common class count as equal.
    `is_acronym`: the word has three or more letters, all capitals. In a text that is mostly in
    capitals, no word is an acronym.
    """

    word: str
    classes: tuple[str, ...]
    kind: Kind = Kind.WORD
    is_name: bool = False
    is_common: bool = False
    is_acronym: bool = False

    @property
    def key(self) -> str:
        """The first of the term's classes. Comparisons use this class before the others."""
        return self.classes[0]

    @property
    def is_abbreviation(self) -> bool:
        """Whether the term is a rare word of two letters, such as the code of an airline."""
        return self.kind is Kind.WORD and len(self.word) == _BRIEF and not self.is_common

    def is_in(self, words: frozenset[str]) -> bool:
        """Whether a text contains the term's word or one of the term's classes.

        `words` are all words of the text, and the classes of its terms.
        """
        return self.word in words or not words.isdisjoint(self.classes)

    def is_like(self, other: "Term") -> bool:
        """Whether two terms are the same word or share a class."""
        if self.word == other.word or self.key in other.classes:
            return True
        return len(self.classes) > 1 and not set(self.classes).isdisjoint(other.classes)


class Evidence(NamedTuple):
    """The features of one text that the guards compare.

    - `raw`: the text itself. `text`: the same in lower case, with plain quotes. `letters`: `raw` in
      lower case without white space.
    - `encoded`: words in which upper and lower case matter. `sentences`: the words of each
      sentence.
    - `language`: None if unknown. `lexicon`: the word lists of the language; None if there are
      none.
    - `frame`: all words in their order. `terms`: the words that carry meaning. `words`: all words,
      and all classes of the terms. `plain`: the words of the frame that carry no meaning.
    - `vague_numbers`: number words that may mean no number. `verbatims`: pieces such as `a.txt`.
    - `negations`: how many negations there are. `denied`: the words that a negation applies to.
    - `is_softened`: the text has a word that may stand for a negation (`fails`), or has `or not`.
    - `alternatives`: the alternatives that the text names, by group.
    - `narrowing`: groups of alternatives. The text contains a word of each group, and this word
      narrows the question even if the other text has no word of the group.
    - `narrowing_requests`: groups like those of `narrowing`, but their words narrow the question
      only if both texts ask for things.
    - `ways`: maps `from` and `to` to the words that follow them. Maps `first` and `second` to the
      two words after `between`, and `over` to the things that something else is preferred to.
    - `is_request`: the text asks for things, as in `all trains to Ghent`.
    - `codes`: words that mix letters and digits. `numbers`: the numbers in the frame.
    - `rows`: numbers that stand side by side, as in `4111 1111 1111 1111`.
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
    """Return the base unit of a quantity, and the amount of the quantity in that base unit."""
    base, factor = UNITS.get(quantity.unit, (quantity.unit, _ONE))
    with exactly():
        return base, (quantity.value * factor, quantity.zeros)


@contextmanager
def exactly() -> Iterator[None]:
    """Return a context manager. Decimals of any length are not rounded in its `with` block.

    The code in the block must not divide decimals.
    """
    with localcontext(Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)):
        yield
