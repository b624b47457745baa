"""The answers of the simulated upstream in Anthropic's Messages API."""

from collections.abc import Callable

from app.dialects.messages.request import MessagesRequest
from app.dialects.strict_json import JsonObject


def message_of(request: MessagesRequest, answer: Callable[[str], str]) -> JsonObject:
    """Return the answer to a request, without an id.

    `answer` is a function that returns the answer to a question.
    """
    text = answer(request.question)
    return {
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": tokens_of(request),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": len(text.split()),
        },
    }


def tokens_of(request: MessagesRequest) -> int:
    """Return the number of words in a request, as an estimate of its number of tokens."""
    told = [request.document.get("system"), *(m["content"] for m in request.messages)]
    return sum(len(str(content).split()) for content in told if content)
