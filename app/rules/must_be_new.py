"""Finds texts that ask for a new answer each time: a random value, a secret, another example.

For example, a request to make a password asks for a new answer. A question about passwords does
not. A task about a given password does not either. `app/data/must_be_new/README.md` explains the
lists.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from app.dialects.dialect import ParsedRequest
from app.matching.guards.lexicon import LANGUAGES
from app.matching.guards.lexing import plain
from app.rules.wording import Phrase, read_phrases, what_is_asked, without_quotes

_LISTS = Path(__file__).parent.parent / "data" / "must_be_new"
_TOKEN = re.compile(r"[^\W\d_]+|\d+|[.,;:!?()\n\u2026]")
_ENDS = frozenset(".;:!?()\n\u2026")
_COMMA, _ANY, _END = ",", "*", "."
_BLANK = ""
_REACH = 12  # words after a verb that are searched for its object
_MOST_LEADS = 4

_Lists = Mapping[str, Mapping[str, Sequence[Phrase]]]
"""For each section, a mapping from a first word to the phrases that begin with this word."""


def wants_new(parsed: ParsedRequest) -> bool:
    """Whether a request asks for a new answer, so that no stored answer can be right.

    The result is False if the request has a seed or temperature 0, because such a request asks for
    the same answer each time.
    """
    if not must_be_new(parsed.question):
        return False
    body = parsed.must_match
    return body.get("seed") is None and body.get("temperature") != 0


def must_be_new(text: str) -> bool:
    """Whether a text asks for something that differs from every earlier answer.

    Only the beginning and the end of a long text are read, because the question is usually there.
    """
    for sentence, end in _sentences(without_quotes(what_is_asked(text))):
        if end != ":" and _TELLING.isdisjoint(sentence):
            continue
        first, is_wanted = _behind_leads(sentence, 0)
        if _length("asks", sentence, first):
            if _length("questions", sentence, first):
                return True
            if end == ":":
                return False  # the text after the colon is only the subject of the question
        elif _wishes(_masked(sentence), first, is_wanted=is_wanted):
            return True
    return False


def _sentences(text: str) -> Iterator[tuple[list[str], str]]:
    """Yield, for each sentence, the list of its words and the punctuation mark that ends it.

    The words are in lower case and without accents. A comma counts as a word.
    """
    words: list[str] = []
    for token in _TOKEN.findall(text.lower()):
        if token not in _ENDS:
            words.append(token if token.isascii() else plain(token))
        elif words:
            yield words, token
            words = []
    if words:
        yield words, _END


def _masked(sentence: list[str]) -> list[str]:
    """Return a sentence in which blanks replace the phrases of the section `never`.

    The phrases of this section do not ask for a new answer.
    """
    masked = list(sentence)
    for index in range(len(sentence)):
        length = _length("never", sentence, index)
        masked[index : index + length] = [_BLANK] * length
    return masked


def _wishes(sentence: list[str], first: int, *, is_wanted: bool) -> bool:
    """Whether the words of a sentence from the index `first` on ask for something new.

    Precondition: the sentence is not a question. `is_wanted`: words such as `I want` come before
    the index `first`.
    """
    if is_wanted and _gives(sentence, first, "things"):
        return True
    comes_late = bool(_length("preambles", sentence, first))
    may_begin = True
    for index in range(first, len(sentence)):
        if _length("objects", sentence, index):
            return False
        if may_begin or comes_late:
            start, _ = _behind_leads(sentence, index)
            if _length("deeds", sentence, start):
                return True
            length = _length("verbs", sentence, start)
            if length and _gives(sentence, start + length, "things", "others"):
                return True
        may_begin = sentence[index] == _COMMA or bool(_length("joints", sentence, index))
    return False


def _gives(sentence: list[str], start: int, *sections: str) -> bool:
    """Whether a phrase of `sections` begins at or soon after `start`, before any of `objects`.

    If so, the sentence asks for something new. A phrase of `objects` shows that the sentence
    asks for an explanation or for an element of a program.
    """
    for index in range(start, min(start + _REACH, len(sentence))):
        if _length("objects", sentence, index):
            return False
        if any(_length(section, sentence, index) for section in sections):
            return True
    return False


def _behind_leads(sentence: list[str], start: int) -> tuple[int, bool]:
    """Return the index of the first word after words such as `please` or `I want`.

    The second item of the result tells whether there are words such as `I want`.
    """
    is_wanted = False
    for _ in range(_MOST_LEADS):
        wants = _length("wants", sentence, start)
        is_wanted = is_wanted or bool(wants)
        if not (length := wants or _length("leads", sentence, start)):
            break
        start += length
    return start, is_wanted


def _length(section: str, sentence: list[str], index: int) -> int:
    """Return the number of words in the longest phrase of `section` at `index`; 0 if none."""
    if index >= len(sentence):
        return 0
    phrases = _LOADED[section].get(sentence[index], ())
    return max((len(p) for p in phrases if _stands(p, sentence, index)), default=0)


def _stands(phrase: Phrase, sentence: list[str], index: int) -> bool:
    for offset, word in enumerate(phrase, index):
        if word == _END:
            return _is_over(sentence, offset)
        if offset >= len(sentence):
            return False
        if word not in (_ANY, sentence[offset]) or sentence[offset] in (_BLANK, _COMMA):
            return False
    return True


def _is_over(sentence: list[str], index: int) -> bool:
    """Whether the words of a sentence from `index` on are all polite words such as `please`."""
    rest = index + (sentence[index : index + 1] == [_COMMA])
    return _behind_leads(sentence, rest)[0] >= len(sentence)


def _load() -> _Lists:
    phrases: dict[str, dict[str, list[Phrase]]] = defaultdict(lambda: defaultdict(list))
    for language in LANGUAGES:
        for section, phrase in read_phrases(_LISTS / f"{language}.txt"):
            phrases[section][phrase[0]].append(phrase)
    return MappingProxyType({name: MappingProxyType(dict(by)) for name, by in phrases.items()})


_LOADED = _load()
_TELLING = frozenset(
    word for name in ("deeds", "others", "questions", "things") for word in _LOADED[name]
)
