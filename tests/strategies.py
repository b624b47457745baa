"""Strategies of hypothesis for JSON documents and chat completions."""

import itertools
import json
from typing import Any

from hypothesis import strategies as st

TEXT = st.text(st.characters(codec="utf-8"), max_size=200)
WORD = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORD,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(WORD, children, max_size=3),
    max_leaves=6,
)


def extras(*known: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for further fields, as an unknown provider may send them."""
    taken = {*known, "id", "object", "created", "obfuscation", "index", "type", "name", "role"}
    names = WORD.filter(lambda name: name not in taken)
    values = st.none() | st.booleans() | st.integers() | WORD | st.lists(st.integers(), max_size=2)
    return st.dictionaries(names, values, max_size=2)


# Only JSON: other arguments are not stored; see `tests/behaviour/test_structured.py`.
ARGUMENTS = st.just("") | st.dictionaries(WORD, JSON, max_size=3).map(json.dumps)
TOOL_CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": WORD,
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": WORD, "arguments": ARGUMENTS}),
        }
    ),
    min_size=1,
    max_size=3,
)
LOGPROBS = st.none() | st.fixed_dictionaries(
    {
        "content": st.lists(
            st.fixed_dictionaries({"token": WORD, "logprob": st.floats(-9, 0)}), max_size=3
        ),
        "refusal": st.none(),
    }
)
MESSAGES = st.builds(
    lambda fixed, calls, reasoning, more: {
        **more,
        **fixed,
        **({"tool_calls": calls} if calls else {}),
        **({"reasoning_content": reasoning} if reasoning else {}),
    },
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": st.none() | TEXT, "refusal": st.none()}
    ),
    st.none() | TOOL_CALLS,
    st.none() | TEXT,
    extras("content", "refusal", "tool_calls", "reasoning_content", "function_call", "audio"),
)


def _with_tokens(choice: dict[str, Any], sizes: list[int]) -> dict[str, Any]:
    """Return a choice with the log probabilities of its tokens, of these sizes in bytes."""
    data = (choice["message"]["content"] or "").encode()
    tokens, at = [], 0
    for size in itertools.cycle(sizes):
        if at >= len(data):
            break
        part = data[at : at + size]
        text = part.decode(errors="backslashreplace")
        tokens.append({"token": text, "logprob": -0.5, "bytes": [*part], "top_logprobs": []})
        at += size
    return {**choice, "logprobs": {"content": tokens, "refusal": None}}


CHOICES = st.builds(
    lambda fixed, more, sizes: (
        _with_tokens({**more, **fixed}, sizes) if sizes else {**more, **fixed}
    ),
    st.fixed_dictionaries(
        {
            "message": MESSAGES,
            "logprobs": LOGPROBS,
            "finish_reason": st.sampled_from(["stop", "tool_calls", "length"]),
        }
    ),
    extras("message", "delta", "logprobs", "finish_reason", "error"),
    st.lists(st.integers(1, 9), max_size=4),
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
            "usage": st.fixed_dictionaries({"prompt_tokens": st.integers(0, 9)}),
            "system_fingerprint": st.none() | WORD,
        }
    ),
    st.lists(CHOICES, min_size=1, max_size=3),
    extras("model", "usage", "choices", "system_fingerprint", "service_tier", "error"),
)
"""Completions without envelope, as they are in the store."""
