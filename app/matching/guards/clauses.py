"""Finds clauses that only one of two texts has, such as `Make it up`."""

import re
from collections.abc import Sequence

from app.matching.guards.evidence import Evidence
from app.matching.guards.lexicon import Lexicon

_SENTENCES = re.compile(r"(?<![.!?\u2026])[.!?\u2026]++(?:\s|$)|\n")
_WORDS = re.compile(r"[^\W_]+")
_FEWEST, _MOST_COMPARED = 2, 512  # words

Words = tuple[str, ...]


def sentences_of(text: str) -> tuple[Words, ...]:
    """Return the words of each sentence of a text, in lower case.

    The text must be a result of `lexing.straighten`.
    """
    found = (tuple(_WORDS.findall(sentence)) for sentence in _SENTENCES.split(text.lower()))
    return tuple(words for words in found if words)


def says_more(one: Evidence, other: Evidence) -> bool:
    """Whether `one` contains all words of `other` in a row, plus further words that matter.

    Polite words do not matter: `Hi, could you tell me …, please?`
    """
    if one.lexicon is None:
        return False
    words, row = _words_of(one), _words_of(other)
    more = len(words) - len(row)
    if len(row) < _FEWEST or more <= 0 or len(words) > _MOST_COMPARED:
        return False
    at = next((i for i in range(more + 1) if words[i : i + len(row)] == row), None)
    if at is None:
        return False
    lexicon = one.lexicon
    return any(_has_weight(word, lexicon) for word in words[:at] + words[at + len(row) :])


def _words_of(text: Evidence) -> Words:
    return tuple(word for sentence in text.sentences for word in sentence)


def _has_weight(word: str, lexicon: Lexicon) -> bool:
    known = lexicon.look_up(word)
    if known.is_function or word in lexicon.courtesy:
        return known.negates
    return not known.is_light or word in lexicon.wishes


def wishes_more(one: Evidence, own: Sequence[str]) -> bool:
    """Whether the first or last sentence of `one` says how to answer, and only `one` says it.

    `own` has the words of the terms that `one` has and the other text lacks. All words that
    carry meaning in the sentence must be in `own`.
    """
    lexicon = one.lexicon
    if lexicon is None or len(one.sentences) <= 1:
        return False
    for sentence in (one.sentences[0], one.sentences[-1]):
        wish = [word for word in _behind_leads(sentence, lexicon) if _has_weight(word, lexicon)]
        if wish and set(own).issuperset(w for w in wish if not lexicon.look_up(w).is_light):
            return True
    return False


def _behind_leads(sentence: Words, lexicon: Lexicon) -> Words:
    """Return a sentence without its polite beginning.

    The result is empty if the sentence does not say how to answer.
    """
    at = next((at for at, word in enumerate(sentence) if word not in lexicon.leading), 0)
    return sentence[at:] if sentence[at] in lexicon.wishes else ()
