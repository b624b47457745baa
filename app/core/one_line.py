"""Shortens a text, to show it."""


def one_line(text: str, most: int) -> str:
    """Return a text as one line of at most `most` characters; one that is cut ends with `…`."""
    whole = " ".join(text.split())
    return whole if len(whole) <= most else whole[: most - 1] + "…"
