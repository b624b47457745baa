"""Questions made out of one that look like it and ask something else.

Every change takes a text and gives another, or None where it does not apply. They are rules of
thumb: what matters is that most of what they make is right, and none of it rare.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

Change = Callable[[str, Random], str | None]

_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w'&-]+(?: [A-Z][\w'&-]+)*")
_IDENTIFIER = re.compile(
    r"(?<!\S)(?:-{1,2}[a-zA-Z][\w-]*|[\w.~-]*/[\w./-]+|\w+\.\w{1,5}|\w+_\w+|[a-z]+[A-Z]\w+"
    r"|\"[^\"]+\"|'[^']+')(?=[\s?!,]|$)"
)
_ROLES = re.compile(
    r"\b(?P<l>from|convert|translate|move|switch|upgrade) (?P<a>[\w'.-]+(?: [A-Z][\w'.-]+)?)"
    r" (?P<m>to|into) (?P<b>[\w'.-]+(?: [A-Z][\w'.-]+)?)"
)
_SIDES = re.compile(r"\b(?P<a>[\w'-]+) (?P<m>before|after|instead of) (?P<b>[\w'-]+)")
_HELPER = re.compile(
    r"^(?P<h>(?:\w+ )?(?:is|are|was|were|do|does|did|can|could|should|would|will|must|has|have))\b"
    r" (?P<s>(?:the |a |an |my |your )?[\w'-]+) (?P<r>\S.*)$",
    re.IGNORECASE,
)
_NOT = re.compile(r"\b(?:not|never)\b |(?<=[a-z])n't\b", re.IGNORECASE)
_OPPOSITES = """
turn_on/turn_off switch_on/switch_off log_in/log_out sign_in/sign_out enable/disable
increase/decrease open/close start/stop begin/end install/uninstall
add/remove buy/sell win/lose lock/unlock connect/disconnect import/export encrypt/decrypt
encode/decode before/after first/last largest/smallest biggest/smallest highest/lowest best/worst
longest/shortest most/least more/less more/fewer maximum/minimum max/min fast/slow faster/slower
cheap/expensive cheapest/dearest hot/cold old/new older/newer oldest/newest early/late
earliest/latest left/right up/down above/below over/under inside/outside front/back north/south
east/west male/female men/women man/woman boy/girl boys/girls husband/wife father/mother
brother/sister son/daughter his/her he/she good/bad better/worse easy/hard easier/harder safe/unsafe
safe/dangerous legal/illegal possible/impossible positive/negative public/private local/global
internal/external input/output upload/download push/pull read/write send/receive borrow/lend
rise/fall gain/lose love/hate pros/cons advantages/disadvantages benefits/risks causes/effects
strengths/weaknesses with/without include/exclude accept/reject allow/forbid always/never all/none
true/false ascending/descending horizontal/vertical odd/even single/married employer/employee
morning/evening day/night today/tomorrow today/yesterday weekday/weekend summer/winter
monday/friday january/july departure/arrival leave/arrive leaving/arriving deposit/withdraw
debit/credit child/adult cat/dog water/milk red/blue black/white short/long tall/short thin/thick
weekly/monthly all/some any/all can/should and/or daily/weekly hourly/daily hours/days
minutes/hours days/weeks weeks/months months/years kilometers/miles pounds/kilograms
celsius/fahrenheit android/iphone windows/linux python/java mysql/postgres
""".split()
_FILLERS = frozenset("the a an of to in on for and or is are do does i you it my me".split())
_QUALIFIER = re.compile(
    r" (?:in|for|with|without|at|on|by|after|during|under|using|near|as) (?:[\w'-]+ ?){1,4}(?=\?*$)"
)
_LISTED = frozenset("and or vs versus between".split())
_FEWEST = 5  # words of a question whose words are swapped


@dataclass(slots=True)
class Words:
    """What the corpus holds that may stand in for another of its kind."""

    names: dict[int, list[str]] = field(default_factory=dict)
    identifiers: list[str] = field(default_factory=list)
    qualifiers: list[str] = field(default_factory=list)
    between: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Words":
        """Gather names by their number of words, identifiers, and words by their two neighbours."""
        found = cls()
        for text in texts:
            for name in _NAME.findall(text):
                found.names.setdefault(name.count(" "), []).append(name)
            found.identifiers += _IDENTIFIER.findall(text)
            found.qualifiers += _QUALIFIER.findall(text)
            words = text.split()
            for left, word, right in zip(words, words[1:], words[2:], strict=False):
                if word.isalpha() and word.casefold() not in _FILLERS:
                    found.between.setdefault((left, right), []).append(word)
        return found


def another_number(text: str, rng: Random) -> str | None:
    """Change one number."""
    found = list(_NUMBER.finditer(text))
    if not found:
        return None
    match = rng.choice(found)
    digits = match.group()
    if digits.isdigit() and len(digits) < 10 and rng.random() < 0.6:
        changed = str(max(0, int(digits) + rng.choice((-10, -2, -1, 1, 1, 2, 5, 10, 100))))
    else:
        changed = "".join(rng.choice("0123456789") if c.isdigit() else c for c in digits)
    return text[: match.start()] + changed + text[match.end() :]


def negated(text: str, rng: Random) -> str | None:
    """Put a "not" in, or take one out."""
    if match := _NOT.search(text):
        return text[: match.start()] + text[match.end() :]
    match = _HELPER.match(text)
    if match is None:
        return None
    order = rng.choice(("{h} {s} not {r}", "{h} not {s} {r}"))
    return order.format(h=match["h"], s=match["s"], r=match["r"])


def opposite(text: str, rng: Random) -> str | None:
    """Change one word to its opposite, or to another of its kind."""
    pairs = [pair.replace("_", " ").split("/") for pair in _OPPOSITES]
    rng.shuffle(pairs)
    for pair in pairs:
        for one, other in (pair, pair[::-1]):
            if match := re.search(rf"\b{one}\b", text, re.IGNORECASE):
                word = other.capitalize() if match.group()[0].isupper() else other
                return text[: match.start()] + word + text[match.end() :]
    return None


def roles_swapped(text: str, _: Random) -> str | None:
    """Turn "from A to B" round."""
    match = _ROLES.search(text) or _SIDES.search(text)
    if match is None or match["a"].casefold() == match["b"].casefold():
        return None
    if {match["a"].casefold(), match["b"].casefold()} & _FILLERS:
        return None
    a, b = match.span("a"), match.span("b")
    return text[: a[0]] + match["b"] + text[a[1] : b[0]] + match["a"] + text[b[1] :]


def another_name(words: Words) -> Change:
    """Change one name to another that the corpus holds."""

    def change(text: str, rng: Random) -> str | None:
        found = list(_NAME.finditer(text))
        if not found:
            return None
        match = rng.choice(found)
        others = words.names.get(match.group().count(" "), [])
        return put(text, match.span(), rng.choice(others)) if others else None

    return change


def another_identifier(words: Words) -> Change:
    """Change a path, a flag, an identifier or a quoted string to another of the corpus."""

    def change(text: str, rng: Random) -> str | None:
        found = list(_IDENTIFIER.finditer(text))
        if not found or not words.identifiers:
            return None
        match = rng.choice(found)
        alike = [
            other
            for other in rng.sample(words.identifiers, min(60, len(words.identifiers)))
            if other[0] == match.group()[0] or (other[0].isalpha() and match.group()[0].isalpha())
        ]
        return put(text, match.span(), rng.choice(alike)) if alike else None

    return change


def another_word(words: Words) -> Change:
    """Change one word to another that the corpus has between the same two."""

    def change(text: str, rng: Random) -> str | None:
        parts = text.split()
        places = list(range(1, len(parts) - 1))
        rng.shuffle(places)
        for place in places:
            others = words.between.get((parts[place - 1], parts[place + 1]), [])
            if parts[place].isalpha() and parts[place].casefold() not in _FILLERS and others:
                other = rng.choice(others)
                if other[:4].casefold() != parts[place][:4].casefold():
                    return " ".join([*parts[:place], other, *parts[place + 1 :]])
        return None

    return change


def put(text: str, span: tuple[int, int], other: str) -> str:
    """Put another word in a place of a text."""
    return text[: span[0]] + other + text[span[1] :]


def qualified(words: Words) -> Change:
    """Leave a qualifier at the end out, or put another there."""

    def change(text: str, rng: Random) -> str | None:
        match = _QUALIFIER.search(text)
        if match and rng.random() < 0.5:
            return text[: match.start()] + text[match.end() :]
        bare, mark = text.rstrip("?.! "), "?" if text.endswith("?") else ""
        if match:
            bare = text[: match.start()]
        return bare + rng.choice(words.qualifiers) + mark if words.qualifiers else None

    return change


def words_swapped(text: str, rng: Random) -> str | None:
    """Let two words of the same look change places, unless they stand in a list."""
    parts = text.split()
    if len(parts) < _FEWEST or _LISTED & {part.casefold() for part in parts}:
        return None
    places = [
        at
        for at in range(1, len(parts) - 1)
        if parts[at].isalpha()
        and parts[at].casefold() not in _FILLERS
        and (parts[at].istitle() or parts[at - 1].casefold() in _FILLERS)
    ]
    pairs = [
        (one, other)
        for one in places
        for other in places
        if one + 1 < other
        and parts[one].istitle() == parts[other].istitle()
        and parts[one].casefold() != parts[other].casefold()
    ]
    if not pairs:
        return None
    one, other = rng.choice(pairs)
    parts[one], parts[other] = parts[other], parts[one]
    return " ".join(parts)


def other(words: Words) -> Sequence[Change]:
    """Give the changes that make another question."""
    return (
        another_number, another_number, negated, opposite, roles_swapped, roles_swapped,
        words_swapped, words_swapped, another_name(words), another_identifier(words),
        another_word(words), qualified(words),
    )  # fmt: skip
