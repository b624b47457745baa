"""The text completions of the simulated upstream."""

from collections.abc import Callable
from typing import Any

from app.dialects.completions.request import CompletionRequest
from app.dialects.strict_json import JsonObject


def completion_of(request: CompletionRequest, answer: Callable[[str], str]) -> JsonObject:
    """Return the answer to a request, without the envelope.

    `answer` is a function that returns the answer to a prompt. A prompt that is a list of tokens is
    converted to text.
    """
    prompts = _prompts(request.document.get("prompt"))
    echo = bool(request.document.get("echo"))
    each = request.choices // len(prompts)
    texts = [(prompt if echo else "") + answer(prompt) for prompt in prompts for _ in range(each)]
    choices = [
        {"index": index, "text": text, "logprobs": None, "finish_reason": "stop"}
        for index, text in enumerate(texts)
    ]
    # Words are counted in place of tokens: the figures are plausible, not exact.
    asked = sum(len(prompt.split()) for prompt in prompts)
    told = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": asked, "completion_tokens": told, "total_tokens": asked + told}
    return {"model": request.model, "choices": choices, "usage": usage}


def _prompts(prompt: Any) -> list[str]:
    if prompt is None or isinstance(prompt, str):
        return [prompt or ""]
    if isinstance(prompt[0], int):
        return [str(prompt)]
    return [item if isinstance(item, str) else str(item) for item in prompt]
