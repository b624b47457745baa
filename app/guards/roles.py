"""Who does it to whom, and where from and where to: have two things changed their roles."""

from app.guards.evidence import Evidence
from app.guards.lexicon import Lexicon
from app.models import Guard

_FEWEST_IN_PASSIVE = 3  # terms
_MOST_MOVED = 64  # words
_NOTHING: frozenset[str] = frozenset()


def have_changed(a: Evidence, b: Evidence) -> bool:
    """Tell whether two texts name the same in other roles; their words must be known."""
    return _crosses(a, b) or _crosses(b, a) or _is_swapped(a, b) or _is_turned(a, b)


def _is_turned(a: Evidence, b: Evidence) -> bool:
    """Tell whether one does what the other suffers: the same words in order, one in the passive.

    `Who found it?` and `Who was it found by?` ask for the same one.
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
    """Tell whether a text has a passive, and the one who does it after a verb of some weight."""
    if text.lexicon is None or not _has_agent(text):
        return False
    agent = next(at for at, word in enumerate(text.frame) if word in text.lexicon.agents)
    if text.lexicon.passive.isdisjoint(text.frame[:agent]):
        return False
    return any(text.frame[agent - 1] == term.key for term in text.terms)


def _crosses(a: Evidence, b: Evidence) -> bool:
    """Tell whether one text comes from where the other goes to."""
    goal, origin = a.ways.get("to", _NOTHING), b.ways.get("from", _NOTHING)
    crossing = a.ways.get("from", _NOTHING) & b.ways.get("to", _NOTHING)
    if crossing - goal - origin and (goal or origin or (a.is_request and b.is_request)):
        return True
    first, second = a.ways.get("first", _NOTHING), a.ways.get("second", _NOTHING)
    return bool(first & b.ways.get("to", _NOTHING) and second & b.ways.get("from", _NOTHING))


def _is_swapped(a: Evidence, b: Evidence) -> bool:
    """Tell whether two parts have changed places around a third: X m Y and Y m X."""
    if len(a.frame) != len(b.frame) or a.frame == b.frame:
        return False
    start, end = common_ends(a.frame, b.frame)
    x, y = a.frame[start : len(a.frame) - end], b.frame[start : len(b.frame) - end]
    if len(x) > _MOST_MOVED or sorted(x) != sorted(y):
        return False
    for first in range(1, len(x)):
        if x[:first] != y[len(y) - first :]:
            continue
        for last in range(1, len(x) - first):
            if (
                x[len(x) - last :] == y[:last]
                and x[first : len(x) - last] == y[last : len(y) - first]
            ):
                between = x[first : len(x) - last]
                after = a.frame[len(a.frame) - end :]
                return not _is_symmetric(between, after, a.lexicon) and (
                    start + end > 0 or any(word in a.plain for word in between)
                )
    return False


def _is_symmetric(
    between: tuple[str, ...], after: tuple[str, ...], lexicon: Lexicon | None
) -> bool:
    """Tell whether what is between only joins: `is`; `wine and` in `red wine and white wine`."""
    if lexicon is None or lexicon.passive.issuperset(between):
        return True
    at = next((at for at, word in enumerate(between) if word in lexicon.joints), None)
    return at is not None and after[:at] == between[:at]


def common_ends(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[int, int]:
    """Give how many words at the beginning and at the end are the same."""
    most = min(len(a), len(b))
    start = next((i for i in range(most) if a[i] != b[i]), most)
    end = next((i for i in range(most - start) if a[-1 - i] != b[-1 - i]), most - start)
    return start, end
