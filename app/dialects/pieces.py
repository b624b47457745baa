"""Texts cut into the pieces in which they are streamed."""

import re

LONGEST = 64
"""Characters of a piece, unless it is one token that is longer."""

_PIECE = re.compile(rf".{{1,{LONGEST}}}(?:\s|$)|.{{1,{LONGEST}}}", re.DOTALL)


def cut(text: str) -> list[str]:
    """Return the pieces of a text: up to 64 characters, cut after white space if there is any."""
    return _PIECE.findall(text)
