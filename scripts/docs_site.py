"""A hook of MkDocs: links that leave docs/ become plain text, for the site has no such pages."""

import re
from typing import Any

_LEAVING = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page's text without links to other files of the repository."""
    return _LEAVING.sub(r"\1", markdown)
