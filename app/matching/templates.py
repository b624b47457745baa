"""Splits prompts made by frameworks into a frame and a slot.

The frame must match exactly. The slot contains the question. Common prompt templates for retrieval,
prompt programming and agents label their slot: `Question: …`, `[[ ## question ## ]]`,
`<query>…</query>`, `Current Task: …`. If there is no label, the slot is a question that stands
alone before or after a long text. Text that may belong to either counts as frame. So a slot may be
too short or in the wrong place, but this only loses hits.
"""

import re
from collections import deque
from typing import NamedTuple

_HOLE = "\0"
_LONGEST = 200_000  # characters
_WHOSE = r"(?:the|new|current|original|latest|final|search|follow[ -]?up|user(?:'s|s)?|human)[ _]"
_NAME = (
    rf"(?:(?:{_WHOSE})*(?:question|query|task|request|instruction|human|user|q)"
    rf"|(?:{_WHOSE})+(?:input|message|prompt))(?: \d{{1,3}})?"
)
_KEYWORD = re.compile(
    "question|query|task|request|input|message|prompt|instruction|human|user|(?<![a-z])q[ :*\\d]",
    re.IGNORECASE,
)
_LABEL = re.compile(
    rf"[*_#>\"' \t-]{{0,8}}{_NAME}(?: is)?[*_\"' \t]{{0,4}}[:\uff1a][*_]{{0,3}}"  # `**Question:**`
    rf"|\[\[ ## {_NAME} ## \]\]"
    rf"|#{{1,6}} {_NAME}[ \t]*$"
    rf"|{_NAME}\n[-=]{{3,}}$"  # underlined
    r"|[^\n:]{0,80}\bthe (?:question|query) [^\n:]{0,80}:(?=[ \t]+\S)"
    r"|[^\n<]{0,80}<(?P<tag>(?:user_?|current_?)?(?:question|query|task|request|input|message|prompt))>",
    re.IGNORECASE | re.MULTILINE,
)
# Every label and every break between paragraphs contains one of these: a quick first check.
_MARK = re.compile(r"[:\uff1a<#\[\n]")
# Only the last 64 lines with a keyword, and 3 headings in a row, are examined.
_MOST_LINES, _MOST_HEADINGS = 64, 3
_SOURCES = re.compile(
    r"[*#]{0,6} ?(?:sources?|context|references?|documents?|search results)[* \t]{0,4}:"
    r"|<(?:context|references?|documents?|sources?|search_results)>|use the following references\b",
    re.IGNORECASE,
)
_PARAGRAPH_ENDS = re.compile(r"\n[ \t]{0,80}\n|\n[ \t]{0,80}(?=\[\[ ## |<|#{1,6} |-{3}|={3})")
_LINE_ENDS = re.compile(r"\n")
_SOLID = re.compile(r"\S")
_SPACE = " \t\r\n"
_LONGEST_QUESTION, _MUCH = 300, 500  # characters


class Template(NamedTuple):
    """A text split into frame and slot; in the frame, a NUL character replaces the slot."""

    frame: str
    slot: str


def template_of(text: str) -> Template | None:
    """Return the frame and the slot of a text; None if no slot is found.

    If there are several slots, the last one counts: earlier ones are examples or explain a format.
    """
    if not _MARK.search(text) or len(text) > _LONGEST or _HOLE in text:
        return None
    found = _last_named(text) or _before_sources(text) or _beside_much(text)
    if found is None:
        return None
    start, end = found
    slot = text[start:end].strip(_SPACE)
    start = text.index(slot, start)
    frame = text[:start] + _HOLE + text[start + len(slot) :]
    return Template(frame, slot) if slot and frame.strip(_SPACE + _HOLE) else None


def _last_named(text: str) -> tuple[int, int] | None:
    """Return the indexes of the start and end of the last slot that has a label, or None."""
    keywords = deque((found.start() for found in _KEYWORD.finditer(text)), _MOST_LINES)
    lines = dict.fromkeys(text.rfind("\n", 0, at) + 1 for at in reversed(keywords))
    for label in filter(None, (_LABEL.match(text, line) for line in lines)):
        start = label.end()
        end = _first(_LINE_ENDS, text, start)
        if tag := label["tag"]:
            end = text.find(f"</{tag}>", start)
        elif not text[start:end].strip():
            start, end = _paragraph(text, start)
        if text[start : max(end, 0)].strip():
            return start, end
    return None


def _paragraph(text: str, start: int) -> tuple[int, int]:
    """Return the indexes of the start and end of the paragraph after a heading.

    The heading ends at `start`. A paragraph that ends with a colon counts as another heading.
    """
    end = start
    for _ in range(_MOST_HEADINGS):
        start = _first(_SOLID, text, end)
        end = _first(_PARAGRAPH_ENDS, text, start)
        if text[start:end].rstrip()[-1:] != ":":
            break
    return start, end


def _before_sources(text: str) -> tuple[int, int] | None:
    """Return the indexes of the start and end of the first line that is not blank.

    Return None if no list of sources follows that line.
    """
    start = _first(_SOLID, text, 0)
    end = _first(_LINE_ENDS, text, start)
    return (start, end) if _SOURCES.match(text, _first(_SOLID, text, end)) else None


def _beside_much(text: str) -> tuple[int, int] | None:
    """Return the indexes of the start and end of the last paragraph, or else of the first.

    The paragraph must be a short question, and the rest of the text must be long. Return None if
    this is true of neither paragraph.
    """
    whole = text.rstrip(_SPACE)
    start = _first(_SOLID, text, 0)
    last, first = whole.rfind("\n\n") + 2, _first(_PARAGRAPH_ENDS, text, start)
    for at, end in ((last, len(whole)), (start, first)):
        is_short = 0 < end - at <= _LONGEST_QUESTION and len(whole) - (end - at) >= _MUCH
        if is_short and text[at:end].rstrip(_SPACE + "*_\"'").endswith("?"):
            return at, end
    return None


def _first(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Return the index of a pattern's first match from `start` on, or the length of the text."""
    found = pattern.search(text, start)
    return found.start() if found else len(text)
