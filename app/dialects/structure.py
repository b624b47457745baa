"""The structure that a request demands of its answer (JSON, function calls), in any dialect."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.dialects.strict_json import JsonObject

_JSON_FORMATS = frozenset({"json_object", "json_schema"})


@dataclass(frozen=True, slots=True)
class Structure:
    """The structure that a request demands of its answer.

    `is_json`: the answer's text must be JSON.
    `demanding`: names of the functions that have required parameters.
    `forced`: the name of the function that must be called, or None if the request forces no call.
    The arguments of the forced call are the answer.
    """

    is_json: bool = False
    demanding: frozenset[str] = frozenset()
    forced: str | None = None


def demanding(functions: object, schema: str) -> frozenset[str]:
    """Return the names of the functions that have required parameters.

    `schema` is the name of the field that contains the JSON Schema of a function's parameters.
    """
    return frozenset(
        function["name"]
        for function in objects(functions)
        if isinstance(function.get("name"), str) and _requires(function.get(schema))
    )


def _requires(parameters: object) -> bool:
    return isinstance(parameters, dict) and bool(parameters.get("required"))


def wants_json(form: object) -> bool:
    """Whether `form`, the value of OpenAI's `response_format` or `text.format`, asks for JSON."""
    kind = form.get("type") if isinstance(form, dict) else None
    return isinstance(kind, str) and kind in _JSON_FORMATS


def name_of(function: object) -> str | None:
    """Return the `name` of a function, or None if it has no name or the name is not a string."""
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def objects(value: object) -> Sequence[JsonObject]:
    """Return the JSON objects in a list; an empty list if `value` is not a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
