"""Finds time-bound questions, whose answers depend on the time, by certain words and years.

`app/data/volatility/README.md` explains the format of the lists. Text in quotes, code, and names
are ignored. In most places, a word with a capital letter counts as a name.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from app.matching.guards.languages import language_of
from app.matching.guards.lexicon import LANGUAGES
from app.matching.guards.lexing import plain
from app.rules.wording import Phrase, read_phrases, what_is_asked, without_quotes

_LISTS = Path(__file__).parent.parent / "data" / "volatility"
_SECONDS_PER_YEAR = 31_556_952
_CALENDAR_ERROR = 2 * 86_400  # seconds, so that a computed year never begins too early
_LAST_YEAR = 2100  # a larger number is probably not a year
_ANY, _END = "*", "."
_MOSTLY = 0.8  # share of longer words with a capital from which a text is a headline
_SHORT = 3  # letters

_LETTERS = re.compile(r"[^\W\d_]+")
_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+|[.,;:!?()\u2026]")
_ELISION = re.compile(r"^(?:l|d|c|j|n|s|m|t|qu|jusqu|lorsqu|puisqu)'(?=\w{2})")
_SENTENCE_ENDS = frozenset(".!?:\u2026")
_OPEN = "("


class TimeBound(IntEnum):
    """In which way the answer to a question depends on the time when the question is asked.

    `NONE`: the answer does not depend on the time. `MOMENT`: the answer may change at any time.
    `DAY`: the answer changes each day.
    """

    NONE = 0
    MOMENT = 1
    DAY = 2


class _Token(NamedTuple):
    """A word, a number or the end of a clause. `text` is in lower case and without accents."""

    text: str
    is_name: bool


@dataclass(frozen=True, slots=True)
class _Lists:
    """The word lists.

    `phrases`: tuples (phrase, time bound, language), by word. The word is the first word of the
    phrase that is not a placeholder. A phrase with a language counts only in texts of this
    language. If the language is None, the phrase counts in all texts.
    `never`: phrases by their first word. Words in these phrases do not make a text time-bound.
    `years`: words after which a number may be a year.
    `counted`: words before which a number is not a year.
    """

    phrases: Mapping[str, Sequence[tuple[Phrase, TimeBound, str | None]]]
    never: Mapping[str, Sequence[Phrase]]
    years: frozenset[str]
    counted: frozenset[str]


def year_of(now: float) -> int:
    """Return the year of the time `now`, in seconds since 1970.

    In the first days of a year, the result is still the previous year.
    """
    return 1970 + int((now - _CALENDAR_ERROR) // _SECONDS_PER_YEAR)


def judge(text: str, year: int) -> TimeBound:
    """Return how the answer to a text depends on the time. `year` is the year of the request.

    Only the beginning and the end of a long text are read, because the question is usually there.
    """
    straight = what_is_asked(text)
    tokens = list(_tokens(without_quotes(straight)))
    masked = {
        index + offset
        for index, phrase in _found(tokens, _LOADED.never)
        for offset in range(len(phrase))
    }
    language = None
    bound = TimeBound.MOMENT if _names_a_year(tokens, year) else TimeBound.NONE
    for index, token in enumerate(tokens):
        for phrase, time_bound, own in _LOADED.phrases.get(token.text, ()):
            if time_bound <= bound or index in masked or token.is_name:
                continue
            if not _stands(phrase, tokens, index - phrase.index(token.text)):
                continue
            if own is not None:
                language = language or language_of(_LETTERS.findall(straight.lower())) or ""
            if own is None or language in {own, ""}:
                bound = time_bound
    return bound


def _tokens(text: str) -> Iterator[_Token]:
    raw = _TOKEN.findall(text)
    longer = [word for word in raw if len(word) > _SHORT and word[0].isalpha()]
    is_headline = sum(word[0].isupper() for word in longer) >= _MOSTLY * max(2, len(longer))
    begins = True
    for word in raw:
        if word[0].isalnum():
            is_capital = word[0].isupper() and not (word.isupper() and len(word) > 1)
            yield _Token(_folded(word), is_capital and not begins and not is_headline)
            begins = False
        else:
            yield _Token(_OPEN if word == _OPEN else _END, is_name=False)
            begins = word in _SENTENCE_ENDS or (begins and word == _OPEN)
    yield _Token(_END, is_name=False)


def _folded(word: str) -> str:
    """Return a word as it is spelled in the lists: `annee` for `L'Année`, `today` for `today's`."""
    lower = word.lower()
    if not lower.isascii():
        lower = plain(lower)
    if "'" in lower:
        lower = _ELISION.sub("", lower, count=1)
        if lower not in _LOADED.phrases:
            lower = lower.removesuffix("'s")
    return lower


def _found(
    tokens: Sequence[_Token], phrases: Mapping[str, Sequence[Phrase]]
) -> Iterator[tuple[int, Phrase]]:
    for index, token in enumerate(tokens):
        for phrase in phrases.get(token.text, ()):
            if _stands(phrase, tokens, index):
                yield index, phrase


def _stands(phrase: Phrase, tokens: Sequence[_Token], begin: int) -> bool:
    """Whether a phrase begins at the index `begin` of `tokens`."""
    if begin < 0 or begin + len(phrase) > len(tokens):
        return False
    return all(
        word == token.text or (word == _ANY and token.text not in {_END, _OPEN})
        for word, token in zip(phrase, tokens[begin : begin + len(phrase)], strict=True)
    )


def _names_a_year(tokens: Sequence[_Token], year: int) -> bool:
    """Whether a text names `year` or a later year."""
    for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if token.text.isdecimal() and len(token.text) == len(str(year)):
            is_year = before.is_name or before.text in _LOADED.years
            if is_year and year <= int(token.text) <= _LAST_YEAR:
                return after.text not in _LOADED.counted
    return False


def _load() -> _Lists:
    phrases: dict[str, list[tuple[Phrase, TimeBound, str | None]]] = defaultdict(list)
    never: dict[str, list[Phrase]] = defaultdict(list)
    words: dict[str, set[str]] = defaultdict(set)
    for language in LANGUAGES:
        for section, phrase in read_phrases(_LISTS / f"{language}.txt"):
            anchor = next(word for word in phrase if word != _ANY)
            kind = section.removeprefix("own-")
            own = language if kind != section else None
            if kind == "never":
                never[phrase[0]].append(phrase)
            elif kind in {"day", "moment"}:
                phrases[anchor].append((phrase, TimeBound[kind.upper()], own))
            else:
                words[kind].update(phrase)
    return _Lists(
        MappingProxyType(dict(phrases)),
        MappingProxyType(dict(never)),
        frozenset(words["years"]),
        frozenset(words["counted"]),
    )


_LOADED = _load()
