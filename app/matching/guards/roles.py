"""Whether two texts exchange the roles of two things, such as origin and goal of a journey."""

from collections import Counter
from collections.abc import Set

from app.core.models import Guard
from app.matching.guards.evidence import Evidence
from app.matching.guards.order import are_exchanged, are_swapped, common_ends, qualifies_another

_FEWEST_IN_PASSIVE = 3  # terms
_TWO = 2
_NOTHING: frozenset[str] = frozenset()


def have_changed(a: Evidence, b: Evidence) -> bool:
    """Whether two texts name the same things in other roles. Both texts must have a lexicon."""
    return (
        _crosses(a, b)
        or _crosses(b, a)
        or are_swapped(a, b)
        or _is_turned(a, b)
        or are_exchanged(a, b)
        or qualifies_another(a, b)
        or _prefers_the_other(a, b)
        or any(
            _is_resolved(*both)
            or _asks_for_the_other(*both)
            or _is_done_to(*both)
            or _is_for_the_other(*both)
            for both in ((a, b), (b, a))
        )
    )


def _is_turned(a: Evidence, b: Evidence) -> bool:
    """Whether two texts have the same terms in the same order, but only one text is in the passive.

    The result is False for `Who found it?` and `Who was it found by?`, which ask for the same
    person.
    """
    if not _FEWEST_IN_PASSIVE <= len(a.terms) == len(b.terms) or _is_passive(a) == _is_passive(b):
        return False
    if _has_agent(a) and _has_agent(b):
        return False
    if any(place[0] is Guard.QUESTIONS for place in (*a.alternatives, *b.alternatives)):
        return False
    return all(x.is_like(y) for x, y in zip(a.terms, b.terms, strict=True))


def _has_agent(text: Evidence) -> bool:
    return text.lexicon is not None and not text.plain.isdisjoint(text.lexicon.agents)


def _is_passive(text: Evidence) -> bool:
    """Whether a text is in the passive, and its first `by` directly follows a word with meaning."""
    if text.lexicon is None or not _has_agent(text):
        return False
    agent = next(at for at, word in enumerate(text.frame) if word in text.lexicon.agents)
    if text.lexicon.passive.isdisjoint(text.frame[:agent]):
        return False
    return any(text.frame[agent - 1] == term.key for term in text.terms)


def _crosses(a: Evidence, b: Evidence) -> bool:
    """Whether `a` starts at the place that `b` goes to: `from Bonn`, `to Bonn`."""
    goal, origin = a.ways.get("to", _NOTHING), b.ways.get("from", _NOTHING)
    crossing = a.ways.get("from", _NOTHING) & b.ways.get("to", _NOTHING)
    if crossing - goal - origin and (goal or origin or (a.is_request and b.is_request)):
        return True
    first, second = a.ways.get("first", _NOTHING), a.ways.get("second", _NOTHING)
    return bool(first & b.ways.get("to", _NOTHING) and second & b.ways.get("from", _NOTHING))


def _prefers_the_other(a: Evidence, b: Evidence) -> bool:
    """Whether each text passes over the thing that the other text prefers.

    Example: `tea instead of milk`, `when is milk better than tea`. The thing that is passed over
    comes second in both texts.
    """
    one, other = a.ways.get("over", _NOTHING), b.ways.get("over", _NOTHING)
    return any(_comes_before(y, x, a) and _comes_before(x, y, b) for x in one for y in other)


def _comes_before(first: str, second: str, text: Evidence) -> bool:
    return first in text.frame and text.frame.index(first) < text.frame.index(second)


def _asks_for_the_other(a: Evidence, b: Evidence) -> bool:
    """Whether `a` asks who acts, and `b` asks who is acted on.

    Example: `Who called Ann?`, `Who did Ann call?`. Both texts begin with the same words. In `b`, a
    helper verb such as `did` comes after these words; in `a`, there is no helper verb.
    """
    if a.lexicon is None or not a.plain.isdisjoint(a.lexicon.helpers) or not b.frame:
        return False
    at = next((at for at, word in enumerate(b.frame) if word in a.lexicon.helpers), 0)
    one, other = a.frame, (*b.frame[:at], *b.frame[at + 1 :])
    start, end = common_ends(one, other)
    if not 0 < at <= _TWO or start != at or one[0] not in a.lexicon.subjects:
        return False
    asked, said = one[start : len(one) - end], other[start : len(other) - end]
    does = asked[0] if asked else ""
    return (*asked[1:], does) == said and any(term.key == does for term in a.terms)


def _is_done_to(a: Evidence, b: Evidence) -> bool:
    """Whether a person who is acted on in `a` is the one who acts in `b`.

    Example: `Can Ann sue me?`, `Can I sue Ann?`.
    """
    if a.lexicon is None:
        return False
    keys = {term.key for term in a.terms}
    first = {word: at for at, word in reversed([*enumerate(b.frame)][1:])}
    last = {word: at for at, word in enumerate(b.frame)}
    for doer, verb, other in zip(a.frame, a.frame[1:], a.frame[2:], strict=False):
        sufferer = a.lexicon.objects.get(other)
        if sufferer is None or not {doer, verb} <= keys or sufferer in a.plain:
            continue
        at = first.get(verb, 0)
        is_passive = at > 1 and b.frame[at - _TWO] in a.lexicon.passive  # `why am I charged`
        if at and b.frame[at - 1] == sufferer and last.get(doer, 0) >= at and not is_passive:
            return True
    return False


def _is_for_the_other(a: Evidence, b: Evidence) -> bool:
    """Whether an action on the speaker in `a` is an action on "you" in `b`.

    Example: `Call me Al`, `May I call you Al`. The result is False if a third party acts, because
    "you" may mean anybody then: `Does it make you happy`.
    """
    if a.lexicon is None or b.plain.isdisjoint(a.lexicon.personal):
        return False
    speakers, addressed, others = a.lexicon.speakers, a.lexicon.addressed, a.lexicon.others
    return not _done_to(speakers, a, others).isdisjoint(_done_to(addressed, b, others))


def _done_to(pronouns: Set[str], text: Evidence, others: Set[str]) -> set[tuple[str, str]]:
    """Return pairs: a verb whose object is one of `pronouns`, and the word after the pronoun.

    A verb is left out if it has another subject, such as one of `others`.
    """
    words = ("", *text.frame, "", "")
    return {
        (verb, end)
        for before, verb, who, end in zip(words, words[1:], words[2:], words[3:], strict=False)
        if who in pronouns and verb not in text.plain
        if not before or (before in text.plain and before not in others)
    }


def _is_resolved(a: Evidence, b: Evidence) -> bool:
    """Whether `b` has a name where `a` has a pronoun that may stand for either of two people.

    Example: `If Ann and Bob part, is it her house?`, `If Ann and Bob part, is it Bob's house?`
    """
    if a.lexicon is None or len(b.terms) != len(a.terms) + 1:
        return False
    if not (a.plain - b.plain) & a.lexicon.pronouns or (b.plain - a.plain) & a.lexicon.pronouns:
        return False
    names = {term.key for term in b.terms if term.is_name}
    pairs = [
        {one, other}
        for one, word, other in zip(b.frame, b.frame[1:], b.frame[2:], strict=False)
        if word in a.lexicon.joints and one != other and {one, other} <= names
    ]
    more = Counter(term.key for term in b.terms) - Counter(term.key for term in a.terms)
    return len(more) == 1 and any(more.keys() <= pair for pair in pairs)
