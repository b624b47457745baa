"""A hook of MkDocs. Links to files outside docs/ become plain text, because the site lacks them."""

import re
from typing import Any

_LEAVING = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page's text without links to other files of the repository."""
    return _LEAVING.sub(r"\1", markdown)
