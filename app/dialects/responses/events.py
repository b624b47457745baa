"""Turns a response into the events of a stream, without loss.

The events come in the order in which OpenAI sends them:
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from app.dialects.chat_completions.logprobs import cut
from app.dialects.strict_json import JsonObject

# Fields that are null until a response is complete.
_AT_FIRST: Mapping[str, object] = MappingProxyType(
    {"completed_at": None, "incomplete_details": None, "usage": None}
)
_PART_TEXTS = MappingProxyType({"refusal": "refusal"})
_CALL_TEXTS = MappingProxyType(
    {
        "function_call": ("arguments", "response.function_call_arguments"),
        "custom_tool_call": ("input", "response.custom_tool_call_input"),
    }
)
_NAMES = MappingProxyType(
    {
        "output_text": "response.output_text",
        "reasoning_text": "response.reasoning_text",
        "refusal": "response.refusal",
    }
)


def events_of(response: Mapping[str, Any]) -> Iterator[JsonObject]:
    """Cut a response into the events of a stream, and yield these events, numbered from 0.

    The events of one item come before those of the next item. Texts come in pieces of up to 64
    characters. The last event contains the whole response. Raises LookupError, TypeError or
    AttributeError if `response` is malformed.
    """
    for number, event in enumerate(_events(response)):
        kind = event.pop("type")
        yield {"type": kind, "sequence_number": number, **event}


def _events(response: Mapping[str, Any]) -> Iterator[JsonObject]:
    unset = {name: value for name, value in _AT_FIRST.items() if name in response}
    begun = {**response, **unset, "status": "in_progress", "output": []}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        opening, middle = _told(item)
        yield {"type": "response.output_item.added", "output_index": index, "item": opening}
        for event in middle:
            kind = event.pop("type")
            place = {"item_id": item.get("id", ""), "output_index": index}
            yield {"type": kind, **place, **event}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    end = "incomplete" if response["status"] == "incomplete" else "completed"
    yield {"type": f"response.{end}", "response": response}


def _told(item: Mapping[str, Any]) -> tuple[JsonObject, Iterator[JsonObject]]:
    """Return the initial state of an item, and an iterator of the events that complete the item."""
    kind = item["type"]
    begun = {"status": "in_progress"} if item.get("status") is not None else {}
    if kind == "message":
        return {**item, **begun, "content": []}, _content(item["content"])
    if kind == "reasoning":
        texts = [*_summary(item.get("summary") or []), *_content(item.get("content") or [])]
        empty: JsonObject = {n: [] for n in ("summary", "content") if item.get(n) is not None}
        return {**item, **begun, **empty}, iter(texts)
    if kind in _CALL_TEXTS:
        field, name = _CALL_TEXTS[kind]
        return {**item, **begun, field: ""}, _pieces(name, field, item.get(field) or "", {})
    return {**item, **begun}, iter(())


def _content(parts: list[Mapping[str, Any]]) -> Iterator[JsonObject]:
    for index, part in enumerate(parts):
        place = {"content_index": index}
        kind = part["type"]
        field = _PART_TEXTS.get(kind, "text")
        lists: JsonObject = {
            n: [] for n in ("annotations", "logprobs") if isinstance(part.get(n), list)
        }
        opening = {**part, **lists, field: ""}
        yield {"type": "response.content_part.added", **place, "part": opening}
        if kind in _NAMES:
            tokens = part.get("logprobs") if kind == "output_text" else None
            yield from _pieces(_NAMES[kind], field, part[field], place, tokens)
        for number, annotation in enumerate(part.get("annotations") or []):
            told = {"annotation_index": number, "annotation": annotation}
            yield {"type": "response.output_text.annotation.added", **place, **told}
        yield {"type": "response.content_part.done", **place, "part": part}


def _summary(parts: list[Mapping[str, Any]]) -> Iterator[JsonObject]:
    part_name = "response.reasoning_summary_part"
    for index, part in enumerate(parts):
        place = {"summary_index": index}
        yield {"type": f"{part_name}.added", **place, "part": {**part, "text": ""}}
        yield from _pieces("response.reasoning_summary_text", "text", part["text"], place)
        yield {"type": f"{part_name}.done", **place, "part": part}


def _pieces(
    name: str, field: str, text: str, place: Mapping[str, Any], tokens: Any = None
) -> Iterator[JsonObject]:
    """Yield an event for each piece of a text, then an event with the whole text.

    The types of the events begin with `name`. The last event has the whole text in the field
    `field`. Each event has the fields in `place`, which give the position of the text in the
    response. The events of an output text also have the log probabilities in `tokens`.
    """
    has_tokens = name == _NAMES["output_text"]
    tokens = tokens if isinstance(tokens, list) else []
    for piece, of_piece in cut(text, tokens):
        beside = {"logprobs": [*map(_brief, of_piece)]} if has_tokens else {}
        yield {"type": f"{name}.delta", **place, "delta": piece, **beside}
    beside = {"logprobs": [*map(_brief, tokens)]} if has_tokens else {}
    yield {"type": f"{name}.done", **place, field: text, **beside}


def _brief(token: Mapping[str, Any]) -> JsonObject:
    """Return an entry of `logprobs` without the fields `bytes`, which events do not have."""
    told = {name: value for name, value in token.items() if name != "bytes"}
    if isinstance(others := told.get("top_logprobs"), list):
        told["top_logprobs"] = [{n: v for n, v in o.items() if n != "bytes"} for o in others]
    return told
