"""Checks the parts of a chat completion that must be JSON: texts and the arguments of calls."""

from collections.abc import Mapping
from typing import Any

from app.dialects.strict_json import is_json
from app.dialects.structure import Structure, demanding, name_of, objects, wants_json


def structure_of(body: Mapping[str, Any]) -> Structure:
    """Return the structure that the body of a chat completion request demands of the answer."""
    functions = [
        *(tool.get("function") for tool in objects(body.get("tools"))),
        *objects(body.get("functions")),
    ]
    return Structure(
        wants_json(body.get("response_format")), demanding(functions, "parameters"), _forced(body)
    )


def _forced(body: Mapping[str, Any]) -> str | None:
    """Return the name of the function that the request forces the model to call.

    The result is None if the request does not force a certain function.
    https://platform.openai.com/docs/guides/function-calling#tool-choice
    """
    tools = body.get("tools")
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        allowed = allowed if isinstance(allowed, dict) else {}
        tools, choice = allowed.get("tools"), allowed.get("mode")
    if choice == "required":
        choice = tools[0] if isinstance(tools, list) and len(tools) == 1 else None
    if isinstance(choice, dict) and choice.get("type") == "function":
        return name_of(choice.get("function"))
    return None if choice else name_of(body.get("function_call"))


def calls_others(message: Mapping[str, Any], structure: Structure) -> bool:
    """Whether a message calls any function other than the one that the request forced.

    The result is True if the request forced no function.
    """
    if structure.forced is None:
        return True
    calls = message.get("tool_calls") or []
    called = [call.get("function") for call in objects(calls)]
    if (function := message.get("function_call")) is not None:
        called.append(function)
    is_known = isinstance(calls, list) and len(called) >= len(calls)
    return not is_known or any(name_of(function) != structure.forced for function in called)


def has_broken_calls(message: Mapping[str, Any], structure: Structure) -> bool:
    """Whether a function call in a message has arguments that are not JSON.

    A call may lack arguments if the function has no required parameters. The input of a custom tool
    may be any text.
    """
    functions = [call.get("function") for call in objects(message.get("tool_calls"))]
    called = objects([*functions, message.get("function_call")])
    return any(_is_broken(function, structure) for function in called)


def _is_broken(function: Mapping[str, Any], structure: Structure) -> bool:
    arguments = function.get("arguments")
    if arguments in (None, ""):
        return function.get("name") in structure.demanding
    return isinstance(arguments, str) and not is_json(arguments)


def has_broken_text(message: Mapping[str, Any], structure: Structure) -> bool:
    """Whether a message's text must be JSON but is not JSON."""
    if not structure.is_json:
        return False
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text") for part in objects(content) if part.get("type") == "text"]
        content = "".join(text for text in texts if isinstance(text, str))
    return not (isinstance(content, str) and is_json(content))
