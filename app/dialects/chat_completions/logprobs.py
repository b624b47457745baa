"""Cuts a text into pieces and gives each piece the log probabilities of its tokens.

https://platform.openai.com/docs/api-reference/chat/object#choices-logprobs
"""

import codecs
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.dialects import pieces
from app.dialects.strict_json import JsonObject

Piece = tuple[str, Sequence[Any]]
"""A piece of a text, and the tokens that make it up."""


class Logprobs:
    """The field `logprobs` of one choice: a list of tokens for each text, such as `content`.

    Each token is yielded once, with the piece of the text to which the token belongs.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._left = {name: tokens for name, tokens in told.items() if isinstance(tokens, list)}
        self._frame: JsonObject = {n: [] if n in self._left else v for n, v in told.items()}

    def pieces(self, name: str, text: str) -> Iterator[tuple[str, JsonObject | None]]:
        """Yield the pieces of `text`, each with the `logprobs` of its tokens.

        `name` is the name of the field that contains `text`. A piece without tokens is yielded
        with None instead of `logprobs`.
        """
        for piece, tokens in cut(text, self._left.get(name, [])):
            yield piece, self._framed({name: tokens}) if tokens else None
            if tokens:
                self._left.pop(name, None)

    def rest(self) -> JsonObject | None:
        """Return the `logprobs` that `pieces` has not yielded, or None if nothing is left."""
        left, self._left = self._left, {}
        return self._framed(left) if self._frame or any(left.values()) else None

    def _framed(self, told: Mapping[str, Any]) -> JsonObject:
        """Return a `logprobs` object with the fields in `told`.

        Each field in `told` is a list of tokens. Only the object from the first call also has the
        other fields of `logprobs`.
        """
        frame, self._frame = self._frame, {}
        return {**frame, **told}


def cut(text: str, tokens: Sequence[Any]) -> Iterator[Piece]:
    """Yield the pieces of a text, each with its tokens. A piece ends where a token ends.

    If the tokens do not make up the text, the first piece gets all tokens. In that case, or
    without tokens, each piece ends after white space if possible.
    """
    units = list(_units(tokens)) if tokens else []
    if not tokens or "".join(unit for unit, _ in units) != text:
        for piece in pieces.cut(text):
            yield piece, tokens
            tokens = []
        return
    piece, its = "", list[Any]()
    for unit, of_unit in units:
        if piece and len(piece) + len(unit) > pieces.LONGEST:
            yield piece, its
            piece, its = "", []
        piece, its = piece + unit, its + of_unit
    if its:
        yield piece, its


def _units(tokens: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yield pairs: a text, and the list of the tokens that make up this text.

    The list has one token, or several tokens that share a character. The generator stops at the
    first token that cannot be read.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    its: list[Any] = []
    for token in tokens:
        its.append(token)
        try:
            unit = decoder.decode(_bytes_of(token))
        except (UnicodeDecodeError, TypeError, ValueError, LookupError):
            return
        if not decoder.getstate()[0]:
            yield unit, its
            its = []


def _bytes_of(token: Mapping[str, Any]) -> bytes:
    told = token.get("bytes") if isinstance(token, dict) else None
    return bytes(told) if isinstance(told, list) else str(token["token"]).encode()
