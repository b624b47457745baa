"""Shortens texts for display."""


def one_line(text: str, most: int) -> str:
    """Return `text` as one line of at most `most` characters. A shortened line ends with `…`."""
    whole = " ".join(text.split())
    return whole if len(whole) <= most else whole[: most - 1] + "…"
