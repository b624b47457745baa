"""The slice of OpenAI's requests that we read, and JSON that cannot be misread.

Chat completion requests: https://platform.openai.com/docs/api-reference/chat/create
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

from app.core.errors import NotUnderstood
from app.core.models import Fullness

JsonObject = dict[str, Any]

DONE = "[DONE]"
"""The data of the event that ends a stream of chunks."""


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
_MOST_PARTS = 50_000  # texts, names, arrays and objects; to parse so many takes up to 0.1 s
_MOST_NUMBERS = 500_000  # to parse so many takes as long; embeddings requests have many tokens

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_finite, parse_constant=_ambiguous
)


def load_json(raw: bytes | str) -> Any:
    """Parse JSON that every parser reads alike.

    Raises NotUnderstood for what is not JSON (`not-json`), for what parsers read differently
    (`ambiguous-json`): duplicate keys, NaN, infinite numbers, lone surrogates, and nesting that
    some give up at (RFC 8259 §4, §6, §8.2, §9), and for what has too many parts (`too-complex`).
    """
    try:
        text = raw if isinstance(raw, str) else raw.decode()
        check_structure(text, _MOST_NUMBERS)
        document = _DECODER.decode(text)
        if text.count("[") + text.count("{") > _DEEPEST and _depth(document) > _DEEPEST:
            raise NotUnderstood("ambiguous-json")
        if _SURROGATE.search(text):  # the only way to a lone one
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotUnderstood("ambiguous-json") from None
    except (ValueError, RecursionError):
        raise NotUnderstood("not-json") from None
    return document


def check_structure(text: str, most_numbers: float = math.inf) -> None:
    """Raise NotUnderstood (`too-complex`) for JSON that takes long to parse, whatever its length.

    A parser makes an object of each part without letting go of the interpreter's lock, so that no
    other thread runs. Strings are left out before the rest is counted: a long text full of commas
    is one part. Exact for JSON; of anything else, exact as far as a parser gets.
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


class Form(NamedTuple):
    """In what form an answer is asked for: whole or streamed, and then with its usage or not."""

    stream: bool
    include_usage: bool

    @property
    def entitled(self) -> Fullness:
        """What the upstream gives to who asks in this form, if it gives `usage` at all."""
        if not self.stream:
            return Fullness.ALL
        return Fullness.STREAMED if self.include_usage else Fullness.PLAIN


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A view of the body of a chat completion request; `document` is the whole of it."""

    document: Mapping[str, Any] = field(repr=False)
    model: str
    messages: list[JsonObject] = field(repr=False)
    choices: int
    temperature: float | None
    stream: bool
    include_usage: bool

    @classmethod
    def parse(cls, body: bytes) -> "ChatRequest":
        """Read the body of a request.

        Raises NotUnderstood (`not-json`, `ambiguous-json`, `too-complex`, `unknown-body`).
        """
        document = load_json(body)
        if not isinstance(document, dict):
            raise NotUnderstood("unknown-body")
        options = _field(document, "stream_options", dict) or {}
        return cls(
            document=document,
            model=_field(document, "model", str) or _unknown(),
            messages=_messages(document.get("messages")),
            choices=1 if (n := _field(document, "n", int)) is None else n,
            temperature=_field(document, "temperature", int, float),
            stream=_field(document, "stream", bool) or False,
            include_usage=_field(options, "include_usage", bool) or False,
        )

    @property
    def form(self) -> Form:
        """What makes the bytes of two answers to one question differ."""
        return Form(self.stream, self.stream and self.include_usage)


def _unknown() -> NoReturn:
    raise NotUnderstood("unknown-body")


def _field(document: Mapping[str, Any], name: str, *types: type) -> Any:
    """Give a field's value, or None where it is absent or null; any other type is unknown."""
    value = document.get(name)
    # type() and not isinstance(): true is an int to Python, and not to JSON.
    return value if value is None or type(value) in types else _unknown()


def _messages(messages: object) -> list[JsonObject]:
    if not isinstance(messages, list) or not messages:
        _unknown()
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            _unknown()
        content = message.get("content")
        if isinstance(content, list):
            if not all(isinstance(p, dict) and isinstance(p.get("type"), str) for p in content):
                _unknown()
        elif content is not None and not isinstance(content, str):
            _unknown()
    return messages


def texts_of(content: object) -> list[str] | None:
    """Give the texts of a message's content, part by part, or None if a part is not text."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list) or not content:
        return None
    texts = [part.get("text") for part in content if part["type"] == "text"]
    if len(texts) < len(content) or not all(isinstance(text, str) for text in texts):
        return None
    return texts
