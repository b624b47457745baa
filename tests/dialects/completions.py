"""Strategies of hypothesis for text completions, and for requests for them."""

import json
from typing import Any

from hypothesis import strategies as st

from app.core.cache_status import CacheStatus, Outcome, Replay
from app.dialects.completions.request import CompletionRequest
from app.dialects.dialect import Answer
from tests.strategies import TEXT, WORD, extras

STATUS = CacheStatus(Outcome.HIT)


def _with_logprobs(choice: dict[str, Any], sizes: list[int]) -> dict[str, Any]:
    """Return a choice with the log probabilities of its tokens, of these sizes in characters."""
    text, at = choice["text"], 0
    tokens, offsets = list[str](), list[int]()
    while sizes and at < len(text):
        size = sizes[len(tokens) % len(sizes)]
        tokens.append(text[at : at + size])
        offsets.append(at)
        at += size
    logprobs = {
        "tokens": tokens,
        "text_offset": offsets,
        "token_logprobs": [-0.5] * len(tokens),
        "top_logprobs": [{token: -1} for token in tokens] if len(sizes) % 2 else None,
    }
    return {**choice, "logprobs": logprobs if sizes else None}


CHOICES = st.builds(
    lambda fixed, more, sizes: _with_logprobs({**more, **fixed}, sizes),
    st.fixed_dictionaries({"text": TEXT, "finish_reason": st.sampled_from(["stop", "length"])}),
    extras("text", "logprobs", "finish_reason", "error", "usage"),
    st.lists(st.integers(1, 30), max_size=4),
)
COMPLETIONS = st.builds(
    lambda fixed, choices, more: {
        **more,
        **fixed,
        "choices": [{"index": index, **choice} for index, choice in enumerate(choices)],
    },
    st.fixed_dictionaries(
        {
            "model": WORD,
            "usage": st.just({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}),
        }
    ),
    st.lists(CHOICES, min_size=1, max_size=3),
    extras("model", "usage", "choices", "error"),
)


def asked(**fields: Any) -> CompletionRequest:
    return CompletionRequest.parse(json.dumps({"model": "m", "prompt": "Hi", **fields}).encode())


def read(request: CompletionRequest, *pieces: bytes, is_stream: bool) -> Answer:
    reader = request.reader(is_stream=is_stream)
    for piece in pieces:
        reader.feed(piece)
    reader.end()
    return reader.read()


def replay(document: dict[str, Any], **fields: Any) -> Replay:
    content = json.dumps(document).encode()
    return asked(**fields).render(content, STATUS, nonce="new", now=10.7)


STREAMED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
