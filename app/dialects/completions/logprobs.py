"""Joins and cuts the log probabilities of a text: lists with one entry for each token.

https://platform.openai.com/docs/api-reference/completions/object#completions-object-choices
"""

from collections.abc import Sequence
from typing import Any

from app.core.errors import NotUnderstood
from app.dialects.pieces import LONGEST, cut
from app.dialects.strict_json import JsonObject


def joined(known: Any, new: Any) -> Any:
    """Return the log probabilities so far, `known`, extended by the next chunk's, `new`.

    `known` is changed in place. Raises NotUnderstood if the two cannot be joined.
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
    """Return the pieces of a text, cut where its tokens end, each with its log probabilities.

    If the tokens do not make up the text, all log probabilities come with the first piece. In that
    case, and without log probabilities, the text is cut after white space if it has any.
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
        frame = {}  # said once
    return pieces


def _sizes(tokens: Sequence[Any], text: str) -> list[int]:
    """Return the length of each token in characters; empty if tokens do not make up the text."""
    if not all(isinstance(token, str) for token in tokens) or "".join(tokens) != text:
        return []
    return [len(token) for token in tokens]


def _runs(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return each piece's range of tokens: the indexes of its first token and after its last."""
    runs, first, size = [], 0, 0
    for place, length in enumerate(sizes):
        if place > first and size + length > LONGEST:
            runs.append((first, place))
            first, size = place, 0
        size += length
    return [*runs, (first, len(sizes))]
