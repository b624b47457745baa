"""Reads fields of requests strictly, and brings them into canonical form."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from app.core.errors import NotUnderstood
from app.dialects.strict_json import JsonObject

_DIGITS = 16


def unknown() -> NoReturn:
    """Raise NotUnderstood (`unknown-body`): the body does not follow the API."""
    raise NotUnderstood("unknown-body")


def field_of(document: Mapping[str, Any], name: str, *types: type) -> Any:
    """Return the value of the field `name`, or None if the field is absent or null.

    Raises NotUnderstood if the type of the value is not one of `types`.
    """
    value = document.get(name)
    # type(), not isinstance(): in Python, True is an int; in JSON, true is not a number.
    return value if value is None or type(value) in types else unknown()


def without_defaults(
    document: Mapping[str, Any], defaults: Mapping[str, object], nullable: Collection[str]
) -> JsonObject:
    """Return the fields of a request, except fields that have their default value.

    A field in `nullable` that is null counts as absent. A float such as 1.0 becomes an int, because
    some clients write 1 and others write 1.0.
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
    """Whether two values are equal in JSON. In JSON, true is not equal to 1."""
    return value == other and isinstance(value, bool) is isinstance(other, bool)


def digest_of_fields(document: Mapping[str, Any], names: Collection[str]) -> str:
    """Return a digest of the fields in `names`, as 16 hex digits.

    The digest is empty if all these fields are absent or null.
    """
    said = {name: document[name] for name in names if document.get(name) is not None}
    if not said:
        return ""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:_DIGITS]
