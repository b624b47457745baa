"""The simulated upstream's answers to `/responses`, as whole JSON objects."""

import time
import uuid
from collections.abc import Callable

from app.dialects.responses.request import ResponsesRequest
from app.dialects.strict_json import JsonObject

_REPEATED = ("instructions", "max_output_tokens", "metadata", "previous_response_id", "user")


def answer_response(asked: ResponsesRequest, answer: Callable[[str], str]) -> JsonObject:
    """Return a response with one message.

    `answer` is a function that returns the answer to a question. The function is called with
    the last question of the request.
    """
    text = answer(asked.question)
    # Words are counted in place of tokens: the figures are plausible, not exact.
    words, told = len(asked.question.split()), len(text.split())
    now = int(time.time())
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    message = {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }
    body = asked.document
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": now,
        "completed_at": now,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": asked.model,
        "output": [message],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "store": asked.is_kept,
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text", {"format": {"type": "text"}}),
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation", "disabled"),
        "usage": {
            "input_tokens": words,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": told,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": words + told,
        },
        **{name: body.get(name) for name in _REPEATED},
    }
