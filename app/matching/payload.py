"""Finds payloads: texts that a task is about (proofread, translate, count, spell, rhyme …).

A payload must match letter for letter, since the task depends on its letters. The rest of the
request may be worded differently. `app/data/payload/README.md` explains the format of the patterns.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

Payload = tuple[str, ...]
"""The parts of a text that its task is about, verbatim."""

_PATTERNS = Path(__file__).parent.parent / "data" / "payload" / "patterns.txt"
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_OF = r"(?:the |this )?(?:(?:words?|phrase|sentence|name|string|text|letters|term|following) )?"

_LONGEST = 20_000  # characters; longer texts are matched exactly anyway
_ENDS = 300  # characters at each end of a text in which a task is searched
_MOST_READ = 4_000  # characters at each end of instructions that are searched
_QUOTED = re.compile(
    '"([^"\n]+)"|\u201c([^\u201c\u201d\n]+)\u201d|\u00ab([^\u00ab\u00bb\n]+)\u00bb'
    "|(?<!\\w)'([^'\n]+)'(?!\\w)|`([^`\n]+)`"
)
_BEHIND = re.compile(r"(?::|->|=>|\u2192|\n)\s*(.+)", re.DOTALL)
_BEFORE = re.compile(r"\b(?:above|this|it|these|that)\b|\^", re.IGNORECASE)
_EDGES = " \t\n\r\"'`\u201c\u201d\u2018\u2019\u00ab\u00bb?!.,;:()"
_GENERAL = frozenset({"", "a", "an", "it", "that", "this", "them", "these", "my", "your"})


def _read() -> Mapping[str, list[str]]:
    sections: defaultdict[str, list[str]] = defaultdict(list, of=[_OF])
    section = ""
    for line in _PATTERNS.read_text("utf-8").splitlines():
        if line.startswith("[") and line.endswith("]") and line[1:-1].isidentifier():
            section = line[1:-1]
        elif line and not line.startswith("#"):
            whole = _PLACEHOLDER.sub(lambda name: "|".join(sections[name[1]]), line)
            sections[section].append(whole)
    return MappingProxyType(sections)


_SECTIONS = _read()
_TASK = re.compile(rf"\b(?:{'|'.join(_SECTIONS['tasks'])})\b")
_NAMED = tuple(re.compile(pattern) for pattern in _SECTIONS["named"])
_ORDER = re.compile(
    r"(?:^|[.!?:;,\n]|\b(?:you|will|must|should|always|please|to|and|is))[ \t*-]{0,6}"
    rf"(?:{'|'.join(_SECTIONS['orders'])})|{'|'.join(_SECTIONS['objects'])}"
)
_ROLE = re.compile(
    r"\b(?:you(?:'re| are)|act as|acting as|role:?(?: is)?|as|du bist|tu es|vous êtes|eres)"
    rf" (?:an? |the |eine? |une? )?(?:\w+[ -]){{0,3}}?(?:{'|'.join(_SECTIONS['roles'])})\b"
)
_IN_SOME_CASES = re.compile(r"(?:^|(?<=[.!?\n]))[ \t*-]{0,6}(?:if|when|whenever|unless)\b[^.!?\n]*")


def payload_of(text: str) -> Payload:
    """Return the payload of a text: the parts that the text's task is about, verbatim.

    The payload has one or more of these parts. It is empty if the text has no such task.

    - the quoted texts
    - the text after a colon or after the first line
    - the text before a task about `this`
    - the words that a short question names (`mom` in `Is mom a palindrome?`)
    """
    if len(text) > _LONGEST:
        return ()
    task, named = _task_in(text), _named_in(text)
    if task is None and not named:
        return ()
    quotes = tuple(next(filter(None, groups)) for groups in _QUOTED.findall(text))
    if task is None:
        return quotes or named
    behind = _BEHIND.search(text, task)
    if behind and not _QUOTED.search(behind[1]):
        return (*quotes, behind[1].strip())
    line = max(text.rfind("\n", 0, task), 0)
    before = text[:line].strip()
    return quotes or named or ((before,) if before and _BEFORE.search(text, line) else ())


def _task_in(text: str) -> int | None:
    """Return the index at which a text names a task, or None if it names no task.

    Only the beginning and the end of the text are searched.
    """
    for start in dict.fromkeys((0, max(len(text) - _ENDS, 0))):
        if found := _TASK.search(text[start : start + _ENDS].lower()):
            return start + found.start()
    return None


def _named_in(text: str) -> Payload:
    """Return the words that a short question is about: `mom` in `Is mom a palindrome?`."""
    question = text.strip()
    lower = question.lower()
    if len(question) > _ENDS or "\n" in question or len(lower) != len(question):
        return ()
    found = next(filter(None, (pattern.search(lower) for pattern in _NAMED)), None)
    what = question[slice(*found.span(1))].strip(_EDGES) if found else ""
    return () if what.partition(" ")[0].lower() in _GENERAL else (what,)


def has(text: str, payload: Payload) -> bool:
    """Whether a text contains every part of a payload verbatim, as whole words."""
    return all(_stands_in(part, text) for part in payload)


def _stands_in(part: str, text: str) -> bool:
    return any(
        not (text[at - 1 : at].isalnum() and part[:1].isalnum())
        and not (text[at + len(part) : at + len(part) + 1].isalnum() and part[-1:].isalnum())
        for at in _places(part, text)
    )


def _places(part: str, text: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + len(part))


def makes_payload(instructions: str) -> bool:
    """Whether instructions make every text of the user the payload of a task.

    Examples are `You are a proofreader` and `Translate every message to French`.
    """
    told = instructions
    if len(told) > 2 * _MOST_READ:
        told = f"{told[:_MOST_READ]}\n{told[-_MOST_READ:]}"
    told = _IN_SOME_CASES.sub("", told.lower())
    return bool(_ROLE.search(told) or _ORDER.search(told))
