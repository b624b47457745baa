"""Requests in one way to write them: without the defaults that are spelled out."""

from collections.abc import Collection, Mapping
from typing import Any

from app.dialects.strict_json import JsonObject


def without_defaults(
    document: Mapping[str, Any], defaults: Mapping[str, object], nullable: Collection[str]
) -> JsonObject:
    """Return the fields of a request but for those that have their default.

    Fields that are `nullable` may be null, which is to be absent. A float that is whole is written
    as an integer, as some clients write it.
    """
    told: JsonObject = {}
    for name, value in document.items():
        if value is None and name in nullable:
            continue
        plain = int(value) if isinstance(value, float) and value.is_integer() else value
        default = defaults.get(name)
        # True is 1 to Python, and not to JSON.
        if (
            default is None
            or plain != default
            or isinstance(plain, bool) is not isinstance(default, bool)
        ):
            told[name] = plain
    return told
