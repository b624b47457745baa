"""Checks the parts of a response that must be JSON: texts and the arguments of calls.

https://platform.openai.com/docs/guides/structured-outputs
"""

from collections.abc import Iterator, Mapping
from typing import Any

from app.dialects.strict_json import is_json
from app.dialects.structure import Structure, demanding, name_of, objects, wants_json

_ANSWERS = frozenset({None, "final_answer"})  # the phases of messages that are the answer


def structure_of(body: Mapping[str, Any]) -> Structure:
    """Return the structure that the body of a Responses request demands of the answer."""
    text = body.get("text")
    wanted = text.get("format") if isinstance(text, dict) else None
    return Structure(wants_json(wanted), demanding(body.get("tools"), "parameters"), _forced(body))


def _forced(body: Mapping[str, Any]) -> str | None:
    """Return the name of the function that the request forces the model to call.

    The result is None if the request does not force a certain function.
    https://platform.openai.com/docs/guides/function-calling#tool-choice
    """
    tools = body.get("tools")
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        tools, choice = choice.get("tools"), choice.get("mode")
    if choice == "required":
        choice = tools[0] if isinstance(tools, list) and len(tools) == 1 else None
    if not isinstance(choice, dict) or choice.get("type") != "function":
        return None
    return name_of(choice)


def texts_in(message: Mapping[str, Any]) -> Iterator[str]:
    """Yield each text in a message of a response."""
    for part in objects(message.get("content")):
        if part.get("type") == "output_text" and isinstance(text := part.get("text"), str):
            yield text


def is_answer(message: Mapping[str, Any]) -> bool:
    """Whether a message belongs to the answer. Otherwise it is a comment before the answer."""
    return message.get("phase") in _ANSWERS


def has_broken_text(message: Mapping[str, Any], structure: Structure) -> bool:
    """Whether a message's text must be JSON but is not JSON."""
    if not structure.is_json or not is_answer(message):
        return False
    return not all(is_json(text) for text in texts_in(message))


def is_broken_call(call: Mapping[str, Any], structure: Structure) -> bool:
    """Whether the arguments of a function call are not JSON.

    A call may lack arguments if the function has no required parameters.
    """
    arguments = call.get("arguments")
    if arguments in (None, ""):
        return call.get("name") in structure.demanding
    return not (isinstance(arguments, str) and is_json(arguments))
