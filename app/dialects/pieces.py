"""Cuts texts into pieces for streaming."""

import re

LONGEST = 64
"""The greatest length of a piece in characters. A piece with a single token may be longer."""

_PIECE = re.compile(rf".{{1,{LONGEST}}}(?:\s|$)|.{{1,{LONGEST}}}", re.DOTALL)


def cut(text: str) -> list[str]:
    """Return the pieces of a text: up to 64 characters each, cut after white space if possible."""
    return _PIECE.findall(text)
