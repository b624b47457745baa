"""What a request demands of the structure of its answer, in any dialect."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.dialects.strict_json import JsonObject

_JSON_FORMATS = frozenset({"json_object", "json_schema"})


@dataclass(frozen=True, slots=True)
class Structure:
    """What a request says of the answer's structure.

    `is_json`: its text must be JSON. `demanding` are the functions that cannot be called without
    arguments. `forced` is the function that must be called: its arguments are the answer.
    """

    is_json: bool = False
    demanding: frozenset[str] = frozenset()
    forced: str | None = None


def demanding(functions: object, schema: str) -> frozenset[str]:
    """Return the names of functions whose parameters, a JSON Schema in a field, require any."""
    return frozenset(
        function["name"]
        for function in objects(functions)
        if isinstance(function.get("name"), str) and _requires(function.get(schema))
    )


def _requires(parameters: object) -> bool:
    return isinstance(parameters, dict) and bool(parameters.get("required"))


def wants_json(form: object) -> bool:
    """Whether OpenAI's format of an answer's text is one of JSON."""
    kind = form.get("type") if isinstance(form, dict) else None
    return isinstance(kind, str) and kind in _JSON_FORMATS


def name_of(function: object) -> str | None:
    """Return the name of a function; None where it has none."""
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def objects(value: object) -> Sequence[JsonObject]:
    """Return the items of a list that are JSON objects; none where `value` is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
