"""Messages: joins events into a message and turns a message into events, without loss.

A *message* here is the JSON object of a message without its `id`: each replay sets a new id.
Unknown fields are kept unchanged. Events and deltas of unknown types are refused, because no rule
for joining them is known. The formats:
https://platform.claude.com/docs/en/api/messages
https://platform.claude.com/docs/en/build-with-claude/streaming
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from app.dialects.fields import field_of, unknown
from app.dialects.pieces import LONGEST, cut
from app.dialects.strict_json import JsonObject, load_json

ENVELOPE = frozenset({"id"})
"""Fields that each replay sets anew."""
# Types of blocks whose text comes in pieces. The type is in the name of the field with
# the text, and in the names of the deltas.
_TOLD = frozenset({"text", "thinking"})

_AT_END = ("stop_reason", "stop_sequence", "stop_details")
# The fields of `usage` in the event `message_delta`. The other fields are in `message_start`.
_USAGE_AT_END = (
    *("input_tokens", "output_tokens", "output_tokens_details"),
    *("cache_creation_input_tokens", "cache_read_input_tokens", "server_tool_use"),
)


class MessageBuilder:
    """Builds a message from the events of one stream by the rules of the official SDKs.

    There is one difference: the SDKs ignore events of unknown types, but the builder refuses them.
    `is_complete` says whether the event `message_stop` has been read.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self._message: JsonObject = {}
        self._usage: JsonObject = {}
        self._blocks: list[_Block] = []

    def add(self, event: object) -> None:
        """Take the next event. Raises NotUnderstood (`unknown-body`) if the event is invalid."""
        if not isinstance(event, dict):
            unknown()
        kind = event.get("type")
        if kind == "ping":
            return
        if bool(self._message) is (kind == "message_start"):
            unknown()  # `message_start` comes first, and only once
        match kind:
            case "message_start":
                self._begin(event.get("message"))
            case "content_block_start":
                self._open(event)
            case "content_block_delta":
                self._block(event).add(event.get("delta"))
            case "content_block_stop":
                self._block(event).close()
            case "message_delta":
                self._end(event)
            case "message_stop":
                self.is_complete = True
            case _:
                unknown()

    def message(self) -> JsonObject:
        """Return the message that is made of all events. Raises NotUnderstood."""
        if not self._message or any(block.is_open for block in self._blocks):
            unknown()
        content = [block.fields for block in self._blocks]
        return {**self._message, "content": content, "usage": self._usage}

    def _begin(self, message: object) -> None:
        if not isinstance(message, dict) or message.get("content") != []:
            unknown()
        if not isinstance(usage := message.get("usage"), dict):
            unknown()
        self._message = {**message}
        self._usage = {**usage}

    def _open(self, event: JsonObject) -> None:
        block = event.get("content_block")
        if event.get("index") != len(self._blocks) or not isinstance(block, dict):
            unknown()
        self._blocks.append(_Block(block))

    def _block(self, event: JsonObject) -> "_Block":
        index = event.get("index")
        if type(index) is not int or not 0 <= index < len(self._blocks):
            unknown()
        return self._blocks[index]

    def _end(self, event: JsonObject) -> None:
        if not isinstance(delta := event.get("delta"), dict):
            unknown()
        usage = field_of(event, "usage", dict) or {}
        beside = {n: v for n, v in event.items() if n not in {"type", "delta", "usage"}}
        _update(self._message, {**beside, **delta})
        _update(self._usage, usage)


def _update(known: JsonObject, told: Mapping[str, Any]) -> None:
    """Copy the fields in `told` into `known`. A null does not replace a value."""
    known.update({n: v for n, v in told.items() if v is not None or n not in known})


class _Block:
    """A content block that arrives in pieces."""

    def __init__(self, block: JsonObject) -> None:
        self.fields: JsonObject = {**block}
        self.is_open = True
        self._texts: dict[str, list[str]] = {}
        self._input: list[str] = []
        self._citations: list[Any] = []

    def add(self, delta: object) -> None:
        """Take the next delta. Raises NotUnderstood."""
        if not isinstance(delta, dict) or not self.is_open:
            unknown()
        kind, of = delta.get("type"), self.fields.get("type")
        if isinstance(of, str) and of in _TOLD and kind == f"{of}_delta":
            self._texts.setdefault(of, []).append(_text(delta, of))
        elif kind == "signature_delta" and of == "thinking":
            self.fields["signature"] = _text(delta, "signature")
        elif kind == "input_json_delta" and of == "tool_use":
            self._input.append(_text(delta, "partial_json"))
        elif kind == "citations_delta" and of == "text" and "citation" in delta:
            self._citations.append(delta["citation"])
        else:
            unknown()

    def close(self) -> None:
        """Join the pieces of the block.

        Raises NotUnderstood, for example if the input of a tool is not JSON.
        """
        if not self.is_open:
            unknown()
        self.is_open = False
        for name, pieces in self._texts.items():
            self.fields[name] = "".join([_text(self.fields, name), *pieces])
        if self._citations:
            known = field_of(self.fields, "citations", list) or []
            self.fields["citations"] = [*known, *self._citations]
        if told := "".join(self._input):
            self.fields["input"] = load_json(told)


def _text(fields: JsonObject, name: str) -> str:
    text = fields.get(name)
    return text if isinstance(text, str) else unknown()


def events_of(message: Mapping[str, Any], message_id: str) -> Iterator[JsonObject]:
    """Cut a message into the events of a stream, and yield these events.

    `message_id` is the id that the message gets. The events of one block come before those of the
    next block. Texts and tool inputs come in pieces of up to 64 characters. Citations come before
    the text to which they belong. A signature comes after the thoughts that it signs.
    """
    usage: Mapping[str, Any] = message["usage"]
    at_end = {n: usage[n] for n in _USAGE_AT_END if usage.get(n) is not None}
    yield {"type": "message_start", "message": _opening(message, at_end, message_id)}
    for index, block in enumerate(message["content"]):
        opened, deltas = _cut(block)
        yield {"type": "content_block_start", "index": index, "content_block": opened}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {name: message[name] for name in _AT_END if name in message}
    beside = {}
    if message.get("context_management") is not None:  # SDKs read it from the last delta
        beside["context_management"] = message["context_management"]
    yield {"type": "message_delta", "delta": delta, "usage": at_end, **beside}
    yield {"type": "message_stop"}


def _opening(message: Mapping[str, Any], at_end: JsonObject, message_id: str) -> JsonObject:
    usage = {n: v for n, v in message["usage"].items() if n != "output_tokens_details" or v is None}
    if "output_tokens" in at_end:
        usage["output_tokens"] = 0  # so far
    not_yet = {name: None for name in _AT_END if name in message}
    return {"id": message_id, **message, "content": [], **not_yet, "usage": usage}


def _cut(block: Mapping[str, Any]) -> tuple[JsonObject, list[JsonObject]]:
    """Return the initial state of a block, and a list of the deltas that complete the block."""
    opened, kind = {**block}, block["type"]
    deltas: list[JsonObject] = []
    if kind == "text":
        if citations := block.get("citations"):
            opened["citations"] = []
            deltas += [{"type": "citations_delta", "citation": told} for told in citations]
        opened["text"] = ""
        deltas += [{"type": "text_delta", "text": piece} for piece in cut(block["text"])]
    elif kind == "thinking":
        opened["thinking"] = ""
        deltas += [{"type": "thinking_delta", "thinking": p} for p in cut(block["thinking"])]
        if signature := block.get("signature"):
            opened["signature"] = ""
            deltas.append({"type": "signature_delta", "signature": signature})
    elif kind == "tool_use":
        opened["input"] = {}
        told = json.dumps(block["input"], ensure_ascii=False)
        pieces = [told[at : at + LONGEST] for at in range(0, len(told), LONGEST)]
        deltas += [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return opened, deltas
