"""Joins and cuts lists of log probabilities. A list has one entry for each token of a text.

https://platform.openai.com/docs/api-reference/completions/object#completions-object-choices
"""

from collections.abc import Sequence
from typing import Any

from app.core.errors import NotUnderstood
from app.dialects.pieces import LONGEST, cut
from app.dialects.strict_json import JsonObject


def joined(known: Any, new: Any) -> Any:
    """Return the log probabilities of the earlier chunks, joined with those of the next chunk.

    `known` has the log probabilities of the earlier chunks. `new` has those of the next chunk. Each
    is None if there are none. `known` is changed in place. Raises NotUnderstood if `known` and
    `new` cannot be joined.
    """
    if new is None:
        return known
    if not isinstance(new, dict):
        raise NotUnderstood("unknown-body")
    told: JsonObject = {} if known is None else known
    for name, value in new.items():
        before = told.get(name)
        if isinstance(value, list) and isinstance(before, list):
            before.extend(value)
        elif isinstance(value, list) and before is None:
            told[name] = [*value]
        elif name not in told:
            told[name] = value
        elif value is not None and value != before:
            raise NotUnderstood("unknown-body")
    return told


def pieces_of(text: str, logprobs: Any) -> list[tuple[str, JsonObject | None]]:
    """Return the pieces of a text, each with its log probabilities or None.

    Each piece ends where a token ends. If the tokens do not make up the text, the first piece gets
    all log probabilities. In that case, or without log probabilities, each piece ends after white
    space if possible.
    """
    if not isinstance(logprobs, dict):
        return [(piece, None) for piece in cut(text)]
    tokens = logprobs.get("tokens")
    sizes = _sizes(tokens, text) if isinstance(tokens, list) else []
    lists = {name for name, value in logprobs.items() if isinstance(value, list)}
    if not sizes or any(len(logprobs[name]) != len(sizes) for name in lists):
        first, *others = cut(text) or [""]
        return [(first, logprobs), *((piece, None) for piece in others)]
    pieces: list[tuple[str, JsonObject | None]] = []
    frame, begin, end = logprobs, 0, 0
    for one, last in _runs(sizes):
        begin, end = end, end + sum(sizes[one:last])
        told = {name: logprobs[name][one:last] for name in lists}
        pieces.append((text[begin:end], {**frame, **told}))
        frame = {}  # only the first piece has the fields that are not lists
    return pieces


def _sizes(tokens: Sequence[Any], text: str) -> list[int]:
    """Return the length of each token in characters.

    The list is empty if the tokens do not make up the text.
    """
    if not all(isinstance(token, str) for token in tokens) or "".join(tokens) != text:
        return []
    return [len(token) for token in tokens]


def _runs(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return, for each piece, the range of its tokens.

    `sizes` has the length of each token in characters. A range is a pair: the index of the first
    token, and the index after the last token.
    """
    runs, first, size = [], 0, 0
    for place, length in enumerate(sizes):
        if place > first and size + length > LONGEST:
            runs.append((first, place))
            first, size = place, 0
        size += length
    return [*runs, (first, len(sizes))]
