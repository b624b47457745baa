"""Writes the tables of docs/settings.md: each setting, its default, meaning and allowed values.

    scripts/docs-settings

Text outside the two marks of the page is written by hand and kept.
"""

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from app import variables
from app.settings import Settings
from app.variables import PREFIX

PAGE = Path(__file__).parent.parent.parent / "docs" / "settings.md"

_BEGIN, _END = "<!-- made by scripts/docs-settings -->\n", "<!-- end of what is made -->\n"

_HEADINGS = MappingProxyType(
    {
        "host": "Address, port and processes",
        "upstream_url": "The upstream and the clients' keys",
        "store": "The store",
        "embedder": "Embedder, guards and verifier",
        "max_distance": "Hits and audits",
        "ttl": "Lifetimes",
        "isolation": "Who shares answers",
        "max_temperature": "Requests and answers",
        "max_entries": "Limits",
        "index_algorithm": "The indexes of a Valkey",
        "admin_token": "Operations",
    }
)
"""The tables: the first setting of each, and the heading above it."""


def default_of(name: str) -> str:
    """Return a setting's default as the environment would have it."""
    default = Settings.model_fields[name].default
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:.10g}"
    if default in (None, ()) or (
        hasattr(default, "get_secret_value") and not default.get_secret_value()
    ):
        return ""
    return str(default)


def meanings() -> Mapping[str, str]:
    """Return the docstring that follows each setting in the source."""
    (of_settings,) = (
        node
        for node in ast.parse(inspect.getsource(variables)).body
        if isinstance(node, ast.ClassDef) and node.name == variables.Variables.__name__
    )
    told = {}
    for node, after in zip(of_settings.body, of_settings.body[1:], strict=False):
        match node, after:
            case (
                ast.AnnAssign(target=ast.Name(name)),
                ast.Expr(value=ast.Constant(str(text))),
            ):
                told[name] = " ".join(text.split())
    return told


def tables() -> str:
    """Return the tables of all settings, in the order of the source, one for each heading."""
    told = meanings()
    lines = []
    for name, field in Settings.model_fields.items():
        if name in _HEADINGS:
            lines += ["", f"## {_HEADINGS[name]}", ""]
            lines += ["| variable | default | meaning | allowed |", "|---|---|---|---|"]
        default = f"`{default_of(name)}`" if default_of(name) else ""
        extra = field.json_schema_extra
        allowed = extra["allowed"] if isinstance(extra, dict) else ""
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {told[name]} | {allowed} |")
    return "\n".join([*lines[1:], "", ""])


def page_of(text: str) -> str:
    """Return a page with new tables between its marks."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + "\n" + tables() + _END + after


if __name__ == "__main__":
    PAGE.write_text(page_of(PAGE.read_text()))
