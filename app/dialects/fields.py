"""Fields of requests: read strictly, and put into canonical form."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from app.core.errors import NotUnderstood
from app.dialects.strict_json import JsonObject

_DIGITS = 16


def unknown() -> NoReturn:
    """Raise NotUnderstood (`unknown-body`): the body is not what the API defines."""
    raise NotUnderstood("unknown-body")


def field_of(document: Mapping[str, Any], name: str, *types: type) -> Any:
    """Return a field's value, or None where it is absent or null.

    Raises NotUnderstood for a value that has none of `types`.
    """
    value = document.get(name)
    # type() and not isinstance(): true is an int to Python, and not to JSON.
    return value if value is None or type(value) in types else unknown()


def without_defaults(
    document: Mapping[str, Any], defaults: Mapping[str, object], nullable: Collection[str]
) -> JsonObject:
    """Return the fields of a request but for those that have their default.

    In a `nullable` field, null means the same as absence. A whole float becomes an integer, since
    clients write it either way.
    """
    told: JsonObject = {}
    for name, value in document.items():
        if value is None and name in nullable:
            continue
        plain = int(value) if isinstance(value, float) and value.is_integer() else value
        default = defaults.get(name)
        if default is None or not is_same(plain, default):
            told[name] = plain
    return told


def is_same(value: object, other: object) -> bool:
    """Whether two values are the same to JSON; true is 1 to Python."""
    return value == other and isinstance(value, bool) is isinstance(other, bool)


def digest_of_fields(document: Mapping[str, Any], names: Collection[str]) -> str:
    """Return a digest of the fields in `names`; empty where a request has none of them."""
    said = {name: document[name] for name in names if document.get(name) is not None}
    if not said:
        return ""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:_DIGITS]
