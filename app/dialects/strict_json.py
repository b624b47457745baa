"""A JSON parser. It refuses JSON that is slow to parse or that two parsers may read differently."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from app.core.errors import NotUnderstood

JsonObject = dict[str, Any]


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise NotUnderstood("ambiguous-json")
    return document


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise NotUnderstood("ambiguous-json")
    return number


def _ambiguous(_: str) -> NoReturn:
    raise NotUnderstood("ambiguous-json")


_DEEPEST = 200
_MOST_PARTS = 50_000  # texts, names, arrays and objects; parsing this many takes up to 0.1 s
_MOST_NUMBERS = 500_000  # parsing these takes as long; embeddings requests have many tokens

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

# Made once: json.dumps() with these arguments would make a new encoder for each document.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_finite, parse_constant=_ambiguous
)


def load_json(raw: bytes | str) -> Any:
    """Parse JSON, and refuse JSON that other parsers may read differently.

    Raises NotUnderstood with one of these details:
    `not-json`: the text is not JSON.
    `ambiguous-json`: the text has duplicate keys, NaN, infinite numbers, lone surrogates, or deeper
    nesting than some parsers allow (RFC 8259 §4, §6, §8.2, §9).
    `too-complex`: the text has too many parts (see `check_structure`).
    """
    try:
        text = raw if isinstance(raw, str) else raw.decode()
        check_structure(text, _MOST_NUMBERS)
        document = _DECODER.decode(text)
        if text.count("[") + text.count("{") > _DEEPEST and _depth(document) > _DEEPEST:
            raise NotUnderstood("ambiguous-json")
        if _SURROGATE.search(text):  # a lone surrogate can only be written as an escape
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotUnderstood("ambiguous-json") from None
    except (ValueError, RecursionError):
        raise NotUnderstood("not-json") from None
    return document


def load_object(raw: bytes | str) -> JsonObject:
    """Parse a JSON object by the rules of `load_json`.

    Raises NotUnderstood as `load_json` does, and with `unknown-body` if the JSON is not an object.
    """
    document = load_json(raw)
    if not isinstance(document, dict):
        raise NotUnderstood("unknown-body")
    return document


def compact(document: Mapping[str, Any]) -> str:
    """Return a document as JSON without spaces. Non-ASCII characters are not escaped."""
    return _ENCODER.encode(document)


def is_json(text: str) -> bool:
    """Whether a text is JSON exactly as RFC 8259 defines it; numbers may have any size."""
    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def check_structure(text: str, most_numbers: float = math.inf) -> None:
    """Raise NotUnderstood (`too-complex`) if JSON has so many parts that parsing takes long.

    Strings, arrays and objects are parts. A parser makes a Python object for each part. A parser
    holds the interpreter's lock while it works, so no other thread runs. `most_numbers` is the
    greatest number of commas that are allowed outside strings. The number of commas limits the
    number of JSON numbers. In valid JSON, all parts are counted exactly. In invalid JSON, the count
    is exact up to the first error.
    """
    if len(text) <= _MOST_PARTS:
        return
    plain = text.replace(r"\\", "").replace(r"\"", "") if "\\" in text else text
    parts = plain.count('"') // 2
    if parts <= _MOST_PARTS:
        between = "".join(plain.split('"')[::2])
        parts += between.count("[") + between.count("{")
        if parts <= _MOST_PARTS and between.count(",") <= most_numbers:
            return
    raise NotUnderstood("too-complex")


def _depth(document: object) -> int:
    depth, level = 0, [document]
    while level:
        level = [
            item
            for value in level
            if isinstance(value, list | dict)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        depth += 1
    return depth
