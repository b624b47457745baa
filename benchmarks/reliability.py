"""The page docs/reliability.md. Benchmarks write their tables into this page."""

import re
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"


def write(name: str, table: str, page: Path = PAGE) -> None:
    """Replace the text between the comments `<!-- name -->` and `<!-- end -->` in the page."""
    old = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)
    page.write_text(old.sub(lambda _: table, page.read_text("utf-8")), "utf-8")
