"""Reads what requests of the lab ask for, in any of the APIs."""

import re
from typing import Any

SLOWLY = "Tell me slowly"
_ASKED_STATUS = re.compile(r"status-(\d{3})")


def asked_status(text: str) -> int | None:
    """Return the status that a text asks for, or None."""
    found = _ASKED_STATUS.search(text)
    return int(found[1]) if found else None


def example_of(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """Return a value that a JSON schema allows: Paris where it is a text, 21 where a number."""
    root = root or schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return example_of((root.get("$defs") or root["definitions"])[name], root)
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return example_of(schema[several][0], root)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if "properties" in schema:
        return {name: example_of(part, root) for name, part in schema["properties"].items()}
    simple: dict[str, Any] = {
        "integer": 21,
        "number": 21,
        "boolean": True,
        "null": None,
        "object": {},
    }
    if schema.get("type") == "array":
        return [example_of(schema["items"], root)]
    return simple.get(schema.get("type", "string"), "Paris")


def text_of(message: dict[str, Any]) -> str:
    """Return the text of a message, whether it is a string or parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)
