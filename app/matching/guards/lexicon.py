"""The guards' word lists. `app/data/guards/README.md` explains their format and source."""

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from pathlib import Path
from types import MappingProxyType

from app.core.models import Guard

LANGUAGES = ("en", "de", "fr", "es")
"""The languages that have word lists."""

_LISTS = Path(__file__).parent.parent.parent / "data" / "guards"
_SHORTEST_STEM = 3  # letters
_DEGREES = ("iest", "ier", "est", "er", "l")  # endings still on a stem: loudest, louder, loudly
_GROUP = 3  # digits between two separators of thousands
_ALTERNATIVES = (
    Guard.QUESTIONS,
    Guard.ANTONYMS,
    Guard.NAMES,
    Guard.DATES,
    Guard.KINDS,
    Guard.QUALIFIERS,
)

Sections = Mapping[str, list[list[str]]]
Phrase = tuple[tuple[str, ...], str]
"""A phrase: its words after the first two, and the word that stands for the whole phrase."""
Place = tuple[Guard, int]
"""A group of alternatives that exclude each other: its guard, and its line number in the list."""


class Narrowing(Enum):
    """When a word narrows the question even if the other text names no alternative to it."""

    NOWHERE = auto()
    IN_REQUESTS = auto()
    EVERYWHERE = auto()


_MARKS = MappingProxyType({"!": Narrowing.EVERYWHERE, "?": Narrowing.IN_REQUESTS})


@dataclass(frozen=True, slots=True)
class Member:
    """A word in a group of alternatives.

    Two members exclude each other if their `place` is the same and their `name` differs.
    """

    place: Place
    name: str
    needs_capital: bool
    narrows: Narrowing


@dataclass(frozen=True, slots=True)
class Word:
    """The properties of a word.

    `classes`: the word's classes of synonyms; only its stem if it has none. `members`: the groups
    of alternatives that contain the word. `way`: what follows the word: an origin (`from`), a goal
    (`to`), the `first` of two things, or what something else is preferred to (`over`). `is_common`:
    the word may replace another one without a change of meaning. `is_light`: it means too little to
    prove a difference. `knows`: its negation does not negate the question (`I don't know how`).
    """

    classes: tuple[str, ...]
    members: tuple[Member, ...]
    way: str | None
    is_function: bool
    is_light: bool
    is_common: bool
    is_joint: bool
    negates: bool
    softens: bool
    knows: bool
    asks: bool


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """The word lists of one language; all words are in lower case.

    - `look_up`: returns the properties of a word.
    - `phrases`: the phrases by their first two words. `beginnings`: the first words of phrases.
    - `comparing`: words that make the next number a bound. `vague`: number words that may mean no
      number. `titles`: words that are no names even if they begin with a capital.
    - `helpers`: verbs such as `did` in questions about the object. `subjects`: words that ask for
      the subject.
    - `objects`: maps a pronoun's object form to its subject form (`me` to `i`).
    - `speakers`, `addressed`, `others`: pronouns of the first, second and third person.
    - `pronouns`: words that may stand for either of two people. `articles`: words without meaning.
    - A request for things has no word of `personal`. It begins with one of `requests`, or with one
      of `picking` and a noun; words of `openings` may come first. A text that begins in another way
      is a request for things if it has no word of `clauses`.
    - `courtesy`: polite words. A sentence says how to answer if it begins with one of `wishes`;
      words of `leading` may come first.
    """

    language: str
    look_up: Callable[[str], Word]
    phrases: Mapping[tuple[str, str], tuple[Phrase, ...]]
    beginnings: frozenset[str]
    numbers: Mapping[str, Decimal]
    multipliers: Mapping[str, Decimal]
    vague: frozenset[str]
    comparing: frozenset[str]
    joints: frozenset[str]
    passive: frozenset[str]
    agents: frozenset[str]
    articles: frozenset[str]
    pronouns: frozenset[str]
    helpers: frozenset[str]
    subjects: frozenset[str]
    objects: Mapping[str, str]
    speakers: frozenset[str]
    addressed: frozenset[str]
    others: frozenset[str]
    titles: frozenset[str]
    asking: frozenset[str]
    openings: frozenset[str]
    requests: frozenset[str]
    picking: frozenset[str]
    clauses: frozenset[str]
    personal: frozenset[str]
    prefixes: tuple[str, ...]
    courtesy: frozenset[str]
    leading: frozenset[str]
    wishes: frozenset[str]

    @property
    def knows_common_words(self) -> bool:
        """Whether there is a list of common words. Without a list, every word counts as common."""
        return self.language == "en"

    @property
    def has_capital_nouns(self) -> bool:
        """Whether the language writes every noun with a capital, as German does."""
        return self.language == "de"

    def parse(self, digits: str) -> Decimal:
        """Return the exact value of digits with separators: `1,000.5` (English) or `1.000,5`."""
        point, comma = (".", ",") if self.language == "en" else (",", ".")
        if 0 <= digits.find(point) < digits.rfind(comma):
            point, comma = comma, point  # written with the separators of another language
        whole, *others = digits.split(comma)
        if (
            point not in digits
            and len(others) == 1
            and len(others[0].partition(point)[0]) != _GROUP
        ):
            return Decimal(digits.replace(comma, "."))  # a fraction with the other separator
        whole, _, fraction = digits.replace(comma, "").partition(point)
        return Decimal(f"{whole}.{fraction.replace(point, '')}")


@functools.cache
def load(language: str) -> Lexicon:
    """Return the lexicon of one of LANGUAGES; cached, because loading English takes 70 ms."""
    sections = _read(f"{language}.txt", "names.txt", *(["en-common.txt"] * (language == "en")))
    words = _Words(sections)
    numbers, objects = _pairs(sections["numbers"]), _pairs(sections["objects"])
    personal = frozenset(_words(sections["personal"]))
    phrases = _phrases({*words.synonyms, *words.alternatives})
    return Lexicon(
        language=language,
        look_up=words.reader(),
        phrases=MappingProxyType(phrases),
        beginnings=frozenset(first for first, _ in phrases),
        numbers=MappingProxyType(
            {word: Decimal(value.strip("~")) for word, value in numbers.items() if value[0] != "*"}
        ),
        multipliers=MappingProxyType(
            {word: Decimal(value[1:]) for word, value in numbers.items() if value[0] == "*"}
        ),
        vague=frozenset(word for word, value in numbers.items() if value[0] == "~"),
        comparing=frozenset(_words(sections["comparing"])),
        joints=frozenset(_words(sections["joints"])),
        passive=frozenset(_words(sections["passive"])),
        agents=frozenset(_words(sections["agents"])),
        articles=frozenset(_words(sections["articles"])),
        pronouns=frozenset(_words(sections["pronouns"])),
        helpers=frozenset(_words(sections["helpers"])),
        subjects=frozenset(_words(sections["subjects"])),
        objects=MappingProxyType(objects),
        speakers=frozenset(who for who, does in objects.items() if does in personal),
        addressed=frozenset(_words(sections["addressed"])),
        others=frozenset({*_words(sections["pronouns"]), *objects.values()} - personal),
        titles=frozenset(_words(sections["titles"])),
        asking=frozenset(_words(sections["asking"])),
        openings=frozenset(_words(sections["openings"])),
        requests=frozenset(map(_written, _words(sections["requests"]))),
        picking=frozenset(_words(sections["picking"])),
        clauses=words.questions.union(_words(sections["clauses"])),
        personal=personal,
        prefixes=tuple(_words(sections["prefixes"])),
        courtesy=frozenset(_words(sections["courtesy"])),
        leading=frozenset(_words(sections["leading"])),
        wishes=frozenset(_words(sections["wishes"])),
    )


class _Words:
    """The word lists of one language, as read from its file."""

    def __init__(self, sections: Sections) -> None:
        self.irregular = {form: base for base, *forms in sections["irregular"] for form in forms}
        self.suffixes = tuple(sorted(_words(sections["suffixes"]), key=len, reverse=True))
        self.synonyms = _synonyms(sections, self.suffixes)
        self.alternatives, self.inflected = _alternatives(sections, self.suffixes)
        self.questions = frozenset(_forms(sections[Guard.QUESTIONS]))
        self.function = self.questions.union(_words(sections["function"]))
        self.light = set(_words(sections["light"]))
        self.light |= {_cut(word, self.suffixes) for word in self.light}
        self.common = set(_words(sections["common"]))
        self.ways = _pairs(sections["ways"])
        self.joints = set(_words(sections["joints"]))
        self.negators = set(_words(sections["negators"]))
        self.softeners = set(_words(sections["softeners"]))
        self.knowing = set(_words(sections["knowing"]))

    def reader(self) -> Callable[[str], Word]:
        """Return a function that looks up a word. Listed words are looked up in advance.

        Other words are not cached. Otherwise, response times would show what other callers ask.
        """
        listed = {*self.irregular, *self.synonyms, *self.alternatives, *self.function, *self.light}
        listed.update(self.ways, self.joints, self.negators, self.softeners, self.knowing)
        ready = {text: self._look_up(text) for text in listed}
        return lambda text: ready.get(text) or self._look_up(text)

    def _look_up(self, text: str) -> Word:
        stem = _cut(self.irregular.get(text, text), self.suffixes)
        classes = self.synonyms.get(text) or self.synonyms.get(stem) or (stem,)
        return Word(
            classes=classes,
            members=self.alternatives.get(text) or self.inflected.get(stem) or (),
            way=self.ways.get(text),
            is_function=text in self.function,
            is_light=text in self.light or classes[0] in self.light,
            is_common=self._is_common(text, stem),
            is_joint=text in self.joints,
            negates=text in self.negators,
            softens=text in self.softeners,
            knows=text in self.knowing,
            asks=text in self.questions,
        )

    def _is_common(self, text: str, stem: str) -> bool:
        """Whether a word is common; True for every word if there is no list of common words."""
        if not self.common or text in self.synonyms:
            return True
        return not self.common.isdisjoint({text, stem, _cut(stem, _DEGREES)})


def load_units(section: str) -> MappingProxyType[str, tuple[str, Decimal]]:
    """Return a mapping from the units of a section to pairs (base unit, conversion factor)."""
    units: dict[str, tuple[str, Decimal]] = {}
    for first, *names in _read("units.txt")[section]:
        name, _, measure = first.partition("=")
        factor, _, base = measure.partition("*")
        units |= dict.fromkeys([name, *names], (base, Decimal(factor)))
    return MappingProxyType(units)


def load_markers() -> Mapping[str, str]:
    """Return a mapping from words to languages, for words that only one language has.

    If English has a word, too, languages without word lists do not count.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    for language, *words in _read("languages.txt")["markers"]:
        for word in words:
            owners[word].add(language.removesuffix(":"))
    for language in LANGUAGES:
        for word in _words(_read(f"{language}.txt")["function"]):
            owners[word].add(language)
    for of in owners.values():
        if "en" in of:
            of &= set(LANGUAGES)
    return MappingProxyType({word: of.pop() for word, of in owners.items() if len(of) == 1})


def load_doubtful() -> frozenset[str]:
    """Return words of other languages that may occur in English texts, such as `car`."""
    return frozenset(_words(_read("languages.txt")["doubtful"]))


def load_loanwords() -> frozenset[str]:
    """Return the words and names that may be written with or without accents, such as `cafe`."""
    return frozenset(_words(_read("en.txt")["loanwords"]))


def _read(*names: str) -> Sections:
    sections: dict[str, list[list[str]]] = defaultdict(list)
    for name in names:
        section = sections[""]
        for line in (_LISTS / name).read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                section = sections[line.strip("[]")]
            elif line and not line.startswith("#"):
                section.append(line.split())
    return sections


def _words(lines: list[list[str]]) -> list[str]:
    return [word for line in lines for word in line]


def _pairs(lines: list[list[str]]) -> dict[str, str]:
    return dict(pair.split("=") for pair in _words(lines))


def _spoken(forms: str) -> list[str]:
    """Split the forms of an alternative, such as `^nyc=new_york`, into `nyc` and `new york`."""
    return [_written(form.lstrip("^!?~")) for form in forms.split("=")]


def _written(word: str) -> str:
    """Put a space between the parts of a listed word, such as `new_york`, `x-ray` or `mp3`."""
    if not word[0].isalnum() or not word.replace("_", "").replace("-", "").isalnum():
        return word
    return " ".join(re.findall(r"\d+|[^\W\d_]+", word))


def _forms(lines: list[list[str]]) -> list[str]:
    return [form for forms in _words(lines) for form in _spoken(forms)]


def _cut(word: str, suffixes: tuple[str, ...]) -> str:
    """Cut off the first suffix in `suffixes` that leaves at least three letters of a word."""
    if not word.endswith(suffixes):
        return word
    for suffix in suffixes:
        if word.endswith(suffix) and len(word) - len(suffix) >= _SHORTEST_STEM:
            stem = word[: -len(suffix)]
            if suffix == "s" and stem[-1] == "s":
                return word
            doubled = len(stem) > _SHORTEST_STEM and stem[-1] == stem[-2]
            return stem[:-1] if doubled and stem[-1] not in "lsz" else stem
    return word


def _synonyms(sections: Sections, suffixes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the classes of synonyms of each word and of each stem.

    The forms of one name or date are a class, too.
    """
    lines = [[_written(word) for word in line] for line in sections["synonyms"]]
    for guard in (Guard.NAMES, Guard.DATES):
        lines += [_spoken(forms) for forms in _words(sections[guard])]
    classes: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        for word in line:
            for form in {word, _cut(word, suffixes)}:
                classes[form].append(line[0])
    return {word: tuple(names) for word, names in classes.items()}


def _alternatives(
    sections: Sections, suffixes: tuple[str, ...]
) -> tuple[dict[str, tuple[Member, ...]], dict[str, tuple[Member, ...]]]:
    """Return two mappings: from words, and from stems, to their groups of alternatives.

    The stems of names and of narrowing words are not in the second mapping.
    """
    members: dict[str, set[Member]] = defaultdict(set)
    stems: dict[str, set[Member]] = defaultdict(set)
    for guard in _ALTERNATIVES:
        for group, line in enumerate(sections[guard]):
            for forms in line:
                written = _spoken(forms)
                for form, marked in zip(written, forms.split("="), strict=True):
                    mark = "~" if marked[0] == "~" else forms[0]
                    narrows = _MARKS.get(mark, Narrowing.NOWHERE)
                    member = Member((guard, group), written[0], forms[0] == "^", narrows)
                    members[form].add(member)
                    if guard is Guard.NAMES:
                        members[f"{form}s"].add(member)
                    elif narrows is Narrowing.NOWHERE:
                        stems[_cut(form, suffixes)].add(member)
    return (
        {word: tuple(places) for word, places in members.items()},
        {stem: tuple(places) for stem, places in stems.items()},
    )


def _phrases(names: Iterable[str]) -> dict[tuple[str, str], tuple[Phrase, ...]]:
    """Return a mapping from pairs of words to the phrases that begin with them, longest first."""
    phrases: dict[tuple[str, str], list[Phrase]] = defaultdict(list)
    for phrase in sorted((name for name in names if " " in name), key=len, reverse=True):
        first, second, *rest = phrase.split()
        phrases[first, second].append((tuple(rest), phrase))
    return {two: tuple(found) for two, found in phrases.items()}
