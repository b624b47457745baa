"""Reads the parts of a Messages request about tools and about the structure of the answer.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview
https://platform.claude.com/docs/en/build-with-claude/structured-outputs
"""

from collections.abc import Mapping, Sequence
from typing import Any

from app.dialects.strict_json import JsonObject
from app.dialects.structure import Structure, demanding, name_of, objects

# Types of tools that the client runs, including some that Anthropic defines. Tools of other types
# run on a server and give results that change: web search and fetch, code execution, tools of MCP
# servers.
_RUN_BY_CLIENTS = ("custom", "bash_", "browser_", "computer_", "memory_", "text_editor_")


def uses_servers(document: Mapping[str, Any]) -> bool:
    """Whether a request allows tools that run on a server, not in the client."""
    if document.get("mcp_servers") or document.get("container") is not None:
        return True
    return any(not _is_clients(tool) for tool in _listed(document.get("tools")))


def _is_clients(tool: object) -> bool:
    kind = tool.get("type") if isinstance(tool, dict) else 0
    return kind is None or (isinstance(kind, str) and kind.startswith(_RUN_BY_CLIENTS))


def structure_of(document: Mapping[str, Any]) -> Structure:
    """Return the structure that a request demands of the answer."""
    tools = document.get("tools")
    config = document.get("output_config")
    wanted = config.get("format") if isinstance(config, dict) else document.get("output_format")
    return Structure(
        is_json=isinstance(wanted, dict) and wanted.get("type") == "json_schema",
        demanding=demanding(tools, "input_schema"),
        forced=_forced(document.get("tool_choice"), objects(tools)),
    )


def _forced(choice: object, tools: Sequence[JsonObject]) -> str | None:
    """Return the name of the tool that the request forces the model to call.

    The result is None if the request does not force a certain tool.
    """
    if not isinstance(choice, dict):
        return None
    if choice.get("type") == "tool":
        return name_of(choice)
    is_only = choice.get("type") == "any" and len(tools) == 1
    return name_of(tools[0]) if is_only else None


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []
