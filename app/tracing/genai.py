"""Attributes of spans for requests and answers, as OpenTelemetry's conventions for AI define them.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans
"""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from app.api.paths import CHAT_COMPLETIONS, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES, route_of
from app.core.models import ClientRequest
from app.dialects.said import said_in
from app.rules.providers import is_anthropics

Attributes = dict[str, str | int | float | bool | Sequence[str]]

_OPERATIONS = MappingProxyType(
    {
        CHAT_COMPLETIONS: "chat",
        COMPLETIONS: "text_completion",
        EMBEDDINGS: "embeddings",
        MESSAGES: "chat",
        RESPONSES: "chat",
    }
)
_PARAMETERS = MappingProxyType(
    {
        "model": "gen_ai.request.model",
        "temperature": "gen_ai.request.temperature",
        "top_p": "gen_ai.request.top_p",
        "max_tokens": "gen_ai.request.max_tokens",
        "max_completion_tokens": "gen_ai.request.max_tokens",
        "max_output_tokens": "gen_ai.request.max_tokens",
        "seed": "gen_ai.request.seed",
    }
)
_LARGEST = 262_144  # bytes; larger bodies are not parsed, as that would block the event loop
_TAIL = 65_536  # bytes at a stream's end that are kept, for its usage
_DATA = b"data:"


def asked(request: ClientRequest, *, with_content: bool) -> Attributes:
    """Return the span attributes of a request to a model. For any other request, return {}.

    If `with_content` is true, the attributes contain the request's messages.
    """
    path = (request.prefix + request.path).decode("latin-1")
    operation = _OPERATIONS.get(route_of(path) or "")
    if operation is None or request.method != "POST":
        return {}
    told: Attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "anthropic" if is_anthropics(request) else "openai",
    }
    body = _object(request.body) if isinstance(request.body, bytes) else {}
    for name, attribute in _PARAMETERS.items():
        value = body.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            told[attribute] = value
    if with_content and (content := body.get("messages", body.get("input", body.get("prompt")))):
        told["gen_ai.input.messages"] = json.dumps(_messages(content), ensure_ascii=False)
    return told


def span_name(attributes: Attributes, otherwise: str) -> str:
    """Return the name for a span with these attributes.

    If the attributes name no operation, return `otherwise`.
    """
    operation = attributes.get("gen_ai.operation.name")
    model = attributes.get("gen_ai.request.model", "")
    return f"{operation} {model}".rstrip() if operation else otherwise


class AnswerNotes:
    """Keeps bytes of an answer that is being forwarded, and makes span attributes from them."""

    def __init__(self, *, is_stream: bool, with_content: bool) -> None:
        self._is_stream = is_stream
        self._with_content = with_content
        self._kept = b""
        self._size = 0

    def feed(self, piece: bytes) -> None:
        """Add the next bytes of the answer.

        Of a stream, only the last 64 KiB are kept. Any other answer is kept whole, if it has at
        most 256 KiB.
        """
        self._size += len(piece)
        if self._is_stream:
            self._kept = (self._kept + piece)[-_TAIL:]
        elif self._size <= _LARGEST:
            self._kept += piece

    def attributes(self) -> Attributes:
        """Return the span attributes of the answer: its model, usage and finish reasons.

        If `with_content` is true and the answer is not a stream, the answer's text is added.
        """
        if self._is_stream:
            told = [_object(line) for line in self._lines()]
            document = next((d for d in told if d.get("usage") or d.get("response")), {})
            document = document.get("response", document)
        else:
            document = _object(self._kept) if self._size <= _LARGEST else {}
        attributes = _answered(document)
        if self._with_content and document and not self._is_stream:
            attributes["gen_ai.output.messages"] = json.dumps(
                [_message("assistant", said_in(self._kept))], ensure_ascii=False
            )
        return attributes

    def _lines(self) -> Sequence[bytes]:
        lines = self._kept.splitlines()
        return [line.removeprefix(_DATA) for line in reversed(lines) if line.startswith(_DATA)]


def _answered(document: Mapping[str, Any]) -> Attributes:
    told: Attributes = {}
    if isinstance(model := document.get("model"), str):
        told["gen_ai.response.model"] = model
    usage = document.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    for attribute, *names in (
        ("gen_ai.usage.input_tokens", "prompt_tokens", "input_tokens"),
        ("gen_ai.usage.output_tokens", "completion_tokens", "output_tokens"),
    ):
        count = next((usage[name] for name in names if name in usage), None)
        if isinstance(count, int):
            told[attribute] = count
    choices = document.get("choices")
    ends = [c.get("finish_reason") for c in choices or [] if isinstance(c, dict)]
    if reasons := [reason for reason in ends if isinstance(reason, str)]:
        told["gen_ai.response.finish_reasons"] = reasons
    return told


def _messages(content: Any) -> list[dict[str, Any]]:
    """Return a request's messages in the format of OpenTelemetry's conventions.

    `content` is the request's `messages`, `input` or `prompt`. Each returned message has the
    fields `role` and `parts`.
    """
    if not isinstance(content, list):
        return [_message("user", str(content))]
    return [
        _message(str(item.get("role", "user")), item.get("content"))
        if isinstance(item, dict)
        else _message("user", str(item))
        for item in content
    ]


def _message(role: str, content: Any) -> dict[str, Any]:
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body; {} if the body exceeds 256 KiB or is no JSON object."""
    if len(body) > _LARGEST:
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
