"""Whether a text asks for things, such as trains. Other texts ask how, why or whether."""

from collections.abc import Sequence
from itertools import dropwhile

from app.matching.guards.lexicon import Lexicon, Word


def asks_for_things(words: Sequence[str], lexicon: Lexicon) -> bool:
    """Whether a text asks for things: `show me all trains`, `which trains`, `trains to Ghent`.

    The result is False if the text is about the speaker's own affairs: `show me my trains`.
    """
    said = list(dropwhile(lexicon.openings.__contains__, words))
    if not said or not lexicon.personal.isdisjoint(said):
        return False
    two = " ".join(said[:2])
    if said[0] in lexicon.requests or two in lexicon.requests:
        return True
    if said[0] in lexicon.picking:
        return len(said) > 1 and _is_content(lexicon.look_up(said[1]))
    return two not in lexicon.clauses and lexicon.clauses.isdisjoint(words)


def _is_content(word: Word) -> bool:
    return not word.is_function and not word.is_light
