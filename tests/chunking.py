"""Strategies of hypothesis for streams, cut as an upstream might cut them."""

import json
from typing import Any

from hypothesis import strategies as st

from tests.strategies import COMPLETIONS

ENVELOPE = {"id": "chatcmpl-upstream", "object": "chat.completion.chunk", "created": 1_600_000_000}


@st.composite
def pieces_of(draw: st.DrawFn, text: str) -> list[str]:
    """Return the pieces of a text, cut at random places."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def deltas_of(draw: st.DrawFn, message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the deltas of a message. The first has no texts; the others have pieces of texts."""
    texts = {n: v for n, v in message.items() if isinstance(v, str) and n in _TEXTS}
    opening = {n: "" if n in texts else v for n, v in message.items() if n != "tool_calls"}
    fragments: list[dict[str, Any]] = [
        {name: piece} for name, text in texts.items() for piece in draw(pieces_of(text))
    ]
    for index, call in enumerate(message.get("tool_calls") or []):
        function = {**call["function"], "arguments": ""}
        pieces = draw(pieces_of(call["function"]["arguments"]))
        fragments.append({"tool_calls": [{**call, "index": index, "function": function}]})
        fragments += [
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in pieces
        ]
    return [opening, *fragments]


_TEXTS = {"content", "reasoning_content"}


@st.composite
def streams(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a whole completion that may be stored, and chunks of it with choices interleaved."""
    completion = draw(COMPLETIONS)
    told = []
    for choice in completion["choices"]:
        choice["message"]["content"] = choice["message"]["content"] or ""
        choice["message"]["content"] += "."
        choice["finish_reason"] = "tool_calls" if "tool_calls" in choice["message"] else "stop"
        rest = {n: v for n, v in choice.items() if n not in {"index", "message", "finish_reason"}}
        base = {"index": choice["index"], "finish_reason": None, "logprobs": None}
        logprobs = rest.pop("logprobs")
        opening, *deltas = draw(deltas_of(choice["message"]))
        chunks = [{**base, **rest, "delta": opening}, *({**base, "delta": d} for d in deltas)]
        if logprobs:
            chunks.append({**base, "delta": {}, "logprobs": logprobs})
        told.append([*chunks, {**base, "delta": {}, "finish_reason": choice["finish_reason"]}])
    # The SDK keeps choices in a list, so the first chunk of each must come in order.
    rest_of = st.permutations([n for n, chunks in enumerate(told) for _ in chunks[1:]])
    order = [*range(len(told)), *draw(rest_of)]
    fields = {n: v for n, v in completion.items() if n not in {"choices", "usage"}}
    chunks = [{**ENVELOPE, **fields, "choices": [told[n].pop(0)]} for n in order]
    usage = {**ENVELOPE, **fields, "choices": [], "usage": completion["usage"]}
    return completion, [*chunks, usage]


def body_of(chunks: list[dict[str, Any]]) -> bytes:
    """Write the chunks of a stream, and its end."""
    events = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*events, "data: [DONE]\n\n"]).encode()
