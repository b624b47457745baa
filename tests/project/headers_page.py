"""Writes the table of docs/http-api.md that tells which request headers are part of the key.

    scripts/docs-headers

Each cell is the result of the rules for that kind of header. Text outside the page's two marks is
written by hand and kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from app.core.models import ClientRequest, Header
from app.core.tags import NAMESPACE, TAGS
from app.dialects.chat_completions.request import ChatRequest
from app.rules.cookies import BALANCING, name_of
from app.rules.directives import MAX_DISTANCE, TIER, TTL
from app.rules.headers import CREDENTIALS, HOP_BY_HOP, ORIGIN, end_to_end
from app.rules.key import Isolation, KeyRules, build_key
from app.rules.neutral_headers import NEUTRAL_HEADERS, PERSON_OR_DOOR, TABLE, Row

PAGE = Path(__file__).parent.parent.parent / "docs" / "http-api.md"

_BEGIN, _END = "<!-- made by scripts/docs-headers -->\n", "<!-- end of what is made -->\n"

_BODY = b'{"model":"m","messages":[{"role":"user","content":"What is Valkey?"}]}'
_RULES = KeyRules("https://upstream.test/v1")
_ANN: Header = (b"authorization", b"Bearer sk-ann")


_COLUMNS = (
    "header",
    "by default",
    "with `REPRISE_ISOLATION=shared`",
    "named in `REPRISE_IGNORED_HEADERS` or `REPRISE_IGNORED_COOKIES`",
    "named in `REPRISE_KEY_HEADERS` or `REPRISE_KEY_COOKIES`",
    "what the header is about",
)


class Kind(NamedTuple):
    """Headers that are treated alike: a name for them, examples, and the reason."""

    called: str
    examples: Sequence[Header]
    why: str
    beside: Sequence[Header] = (_ANN,)


def _codes(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


def _valued(names: Iterable[bytes]) -> list[Header]:
    return [(name, b"1") for name in sorted(names)]


def _told(names: Iterable[bytes]) -> str:
    return _codes(sorted(name.decode() for name in names))


def _balancing(*, starred: bool) -> list[str]:
    return [name for row in BALANCING for name in row.names if name.endswith("*") is starred]


_COOKIE = b"cookie"
_STICKY: Sequence[Header] = [
    (_COOKIE, f"{name}=1".encode()) for name in _balancing(starred=False)
] + [(_COOKIE, f"{name[:-1]}x=1".encode()) for name in _balancing(starred=True)]
_STARRED = [name[:-1].encode() for row in TABLE for name in row.names if name.endswith("*")]
_NAMING = [prefix + word.encode() for prefix in _STARRED for word in PERSON_OR_DOOR]
_OTHERS = (b"openai-organization", b"openai-project", b"x-forwarded-user", b"x-title")

KINDS = (
    Kind(
        _told(CREDENTIALS - {_COOKIE}),
        _valued(CREDENTIALS - {_COOKIE}),
        "the caller's identity",
        beside=(),
    ),
    Kind("each cookie by itself", [(_COOKIE, b"session=1")], "the caller's identity"),
    Kind(
        "a [load-balancing cookie](#load-balancing-cookies), beside another credential",
        _STICKY,
        "the server that serves a client",
    ),
    Kind(
        "a cookie that balances load, without another credential",
        _STICKY,
        "perhaps the caller's identity: nothing else identifies the caller",
        beside=(),
    ),
    Kind(
        f"`{NAMESPACE.decode()}`",
        [(NAMESPACE, b"1")],
        "a partition inside the caller's own",
    ),
    Kind(
        f"{_told([TAGS, TTL, MAX_DISTANCE, TIER])} and other `x-cache-*`",
        [*_valued([TAGS, TTL, MAX_DISTANCE, TIER]), (b"x-cache-x", b"1")],
        "Reprise itself; it is not forwarded",
    ),
    Kind(
        f"{_told(HOP_BY_HOP)}, headers that `connection` names",
        _valued(HOP_BY_HOP),
        "one connection (RFC 9110 §7.6.1); it is not forwarded",
    ),
    Kind(
        f"`{ORIGIN.decode()}`",
        [(ORIGIN, b"https://app.example.com")],
        "the web page that may read the answer, unless the upstream allows all pages",
    ),
    Kind(
        "the [neutral headers](#neutral-headers)",
        _valued([*NEUTRAL_HEADERS, *(prefix + b"x-1" for prefix in _STARRED)]),
        "a connection, a request or a program",
    ),
    Kind(
        "a header that is neutral by its prefix (`*`), with one of these in its name: "
        + _codes(PERSON_OR_DOOR),
        _valued(_NAMING),
        "perhaps the caller's identity, or a credential",
    ),
    Kind(
        f"every other header, such as {_told(_OTHERS)}",
        _valued(_OTHERS),
        "perhaps the caller's identity, or the answer",
    ),
)


def takes_part(header: Header, beside: Sequence[Header], rules: KeyRules) -> bool:
    """Whether a header is part of the key: with it, a request has another key than without."""
    return _partition([*beside, header], rules) != _partition(beside, rules)


def _partition(headers: Sequence[Header], rules: KeyRules) -> str:
    request = ClientRequest("POST", b"/chat/completions", b"", end_to_end(headers), _BODY)
    return build_key(request, ChatRequest.parse(_BODY), rules).partition


def _cells(kind: Kind) -> list[str]:
    """Return whether headers are in the key: by default, shared, ignored, and in KEY_HEADERS."""
    return [_cell(kind, number) for number in range(4)]


def _cell(kind: Kind, column: int) -> str:
    told = {takes_part(header, kind.beside, _rules(header)[column]) for header in kind.examples}
    (answer,) = told  # or they are not of one kind
    return "yes" if answer else "no"


def _rules(header: Header) -> Sequence[KeyRules]:
    names, cookies = frozenset({header[0]}), frozenset({name_of(header[1])})
    if header[0] == _COOKIE:
        ignoring = replace(_RULES, ignored_cookies=cookies)
        keeping = replace(_RULES, key_cookies=cookies)
    else:
        ignoring = replace(_RULES, ignored_headers=names)
        keeping = replace(_RULES, key_headers=names)
    return _RULES, replace(_RULES, isolation=Isolation.SHARED), ignoring, keeping


def tables() -> str:
    """Return the table of all kinds, and the lists of neutral headers, which are folded."""
    lines = [
        _row(_COLUMNS),
        _row(["---"] * len(_COLUMNS)),
        *(_row([kind.called, *_cells(kind), kind.why]) for kind in KINDS),
        *_list_of("Neutral headers", "header", TABLE),
        *_list_of("Load-balancing cookies", "cookie", BALANCING),
    ]
    return "\n".join([*lines, "", ""])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _list_of(title: str, what: str, table: Sequence[Row]) -> list[str]:
    names = sum(len(row.names) for row in table)
    return [
        "",
        f"### {title}",
        "",
        '<details markdown="1">',
        f"<summary>{names} names, who adds each, and where that is documented</summary>",
        "",
        _row([what, "added by", "documented"]),
        _row(["---"] * 3),
        *(_row([_codes(row.names), row.added_by, row.documented]) for row in table),
        "",
        "</details>",
    ]


def page_of(text: str) -> str:
    """Return a page with a new table between its marks."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + "\n" + tables() + _END + after


if __name__ == "__main__":
    PAGE.write_text(page_of(PAGE.read_text()))
