"""Reads the rules in a parsed TOML document. Error messages name the wrong rule and key."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, NoReturn

from app.core.errors import ConfigurationError
from app.rules.routing import Rule

_RULE = "rule"
_TIERS = ("off", "exact", "semantic")
_LONGEST = 2_592_000  # seconds
_SECONDS = (f"a number of seconds from 0 to {_LONGEST}", 0, _LONGEST)

_NUMBERS: Mapping[str, tuple[str, float, float]] = MappingProxyType(
    {
        "ttl": _SECONDS,
        "stale_while_revalidate": _SECONDS,
        "stale_if_error": _SECONDS,
        "max_error_rate": ("a share greater than 0 and less than 1", 0, 1),
        "max_distance": ("a cosine distance from 0 to 2", 0, 2),
    }
)
"""For each key whose value is a number: the allowed values in words, the minimum, the maximum."""

_OPEN = frozenset({"max_error_rate"})  # must be strictly between its least and greatest value
_GLOBS = ("model", "namespace", "path")
_KEYS = ("name", *_GLOBS, "tier", *_NUMBERS)


@dataclass(frozen=True, slots=True)
class _Place:
    """The place of a rule, for error messages.

    `number`: the position of the rule, from 1. `name`: the rule's name; empty if it has none.
    """

    file: str
    number: int
    name: str

    def refuse(self, why: str) -> NoReturn:
        """Raise ConfigurationError. Its text names the rule and gives the reason (`why`)."""
        named = f' ("{self.name}")' if self.name else ""
        raise ConfigurationError(f"{self.file}: rule {self.number}{named}: {why}")

    def refuse_value(self, key: str, value: object, allowed: str) -> NoReturn:
        """Raise ConfigurationError for a key's value. `allowed` describes the allowed values."""
        self.refuse(f"{key} = {value!r} is not allowed: it must be {allowed}")


def rules_of(document: Mapping[str, Any], file: str, paths: Collection[str]) -> tuple[Rule, ...]:
    """Return the rules in a document's `[[rule]]` tables, in order. Raises ConfigurationError.

    `paths` are the paths that are cached. Each path pattern (glob) in a rule must match at least
    one of these paths.
    """
    for key in document:
        if key != _RULE:
            raise ConfigurationError(f"{file}: {key} is unknown: only [[rule]] is allowed here")
    tables = document.get(_RULE, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigurationError(f"{file}: rule must be a list of tables, written as [[rule]]")
    rules: list[Rule] = []
    for number, table in enumerate(tables, 1):
        name = table.get("name")
        place = _Place(file, number, name if isinstance(name, str) else "")
        rule = _rule(table, place, paths)
        for before, other in enumerate(rules, 1):
            if other.name == rule.name:
                place.refuse(f"name = {rule.name!r} is not allowed: rule {before} has that name")
            if other.meets_all:
                place.refuse(f"no request can reach it: rule {before} matches every request")
        rules.append(rule)
    return tuple(rules)


def _rule(table: Mapping[str, Any], place: _Place, paths: Collection[str]) -> Rule:
    for key in table:
        if key not in _KEYS:
            close = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the keys are {', '.join(_KEYS)}"
            place.refuse(f"{key} is not a key of a rule: {hint}")
    name = table.get("name", f"rule-{place.number}")
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        place.refuse_value("name", name, "a printable text that is not blank")
    tier = table.get("tier")
    if tier is not None and tier not in _TIERS:
        place.refuse_value("tier", tier, "off, exact or semantic")
    told: dict[str, Any] = {key: _globs(key, table[key], place) for key in _GLOBS if key in table}
    for glob in told.get("path", ()):
        if not any(fnmatchcase(path, glob) for path in paths):
            place.refuse_value("path", glob, f"a glob that matches one of {', '.join(paths)}")
    told |= {key: _number(key, table[key], place) for key in _NUMBERS if key in table}
    return Rule(name, tier=tier, **told)


def _globs(key: str, value: object, place: _Place) -> tuple[str, ...]:
    globs = value if isinstance(value, list) else [value]
    texts = tuple(glob for glob in globs if isinstance(glob, str))
    if not texts or len(texts) < len(globs) or ("" in texts and key != "namespace"):
        place.refuse_value(key, value, "a glob such as gpt-4o*, or a list of them")
    return texts


def _number(key: str, value: object, place: _Place) -> float:
    allowed, least, most = _NUMBERS[key]
    if not isinstance(value, int | float) or isinstance(value, bool):
        place.refuse_value(key, value, allowed)
    if not least <= value <= most or (key in _OPEN and value in (least, most)):
        place.refuse_value(key, value, allowed)
    return float(value)
