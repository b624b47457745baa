"""A strategy of hypothesis for answers with all fields of upstreams, in each form.

The simulated upstream follows the API. A whole answer, and a stream that asks for it, has usage,
unless the upstream never has usage. Roles, ids, names and other values that are neither text nor a
list are sent once. A field that is null in a whole answer may be missing in a stream. Left out are
cases that clients put together wrongly: lists that grow without an index, and log probabilities in
an opening chunk.
https://platform.openai.com/docs/api-reference/chat-streaming/streaming
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import strategies as st

from app.dialects.chunked import Form

Json = dict[str, Any]

WHOLE, PLAIN, WITH_USAGE = Form(False, False), Form(True, False), Form(True, True)
FORMS = (WHOLE, PLAIN, WITH_USAGE)

_TEXTS = ("reasoning", "reasoning_content", "content", "refusal")
_PARTS = st.sets(
    st.sampled_from(
        [
            *(
                "reasoning",
                "reasoning_content",
                "reasoning_details",
                "refusal",
                "null-content",
                "empty-content",
            ),
            *("tool_calls", "function_call", "annotations", "logprobs", "native_finish_reason"),
        ]
    ),
    max_size=4,
)
_CHARACTERS = 'ab \n"\\é…😀\u2028\x85\x00'
_TOKENS = st.lists(st.text(_CHARACTERS, min_size=1, max_size=3), min_size=1, max_size=4)
_ARGUMENTS = st.sampled_from(
    [(), ("{}",), ('{"a', '":"', "é😀", '"}'), ("{", '"a":[1,', "2]}"), ("{",)]
)
_CALLS = st.lists(_ARGUMENTS, min_size=1, max_size=3)
_CITATION = {"type": "url_citation", "url_citation": {"url": "http://a", "start_index": 0}}
_CITATIONS = st.sampled_from([[], [_CITATION], [_CITATION, _CITATION]])
_DETAIL = {"type": "reasoning.text", "format": "x", "index": 0}
_USAGE = st.builds(
    lambda asked, answered, details: {
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
        **{f"{kind}_tokens_details": {"cached_tokens": asked} for kind in details},
    },
    st.integers(0, 9),
    st.integers(0, 9),
    st.sets(st.sampled_from(["prompt", "completion"])),
)
_FIELDS: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {"model": st.just("m")},
    optional={
        "system_fingerprint": st.just("fp"),
        "service_tier": st.just("flex"),
        "provider": st.just("é"),
        "usage": _USAGE,
    },
)
_REASONS = st.sampled_from([*["stop"] * 6, "length", "content_filter"])

Pieces = dict[str, Sequence[str]]
"""The pieces of each text of a choice, by the path of the text in the choice."""


@st.composite
def _choices(draw: st.DrawFn) -> tuple[Json, Pieces]:
    parts = draw(_PARTS)
    texts = parts & {*_TEXTS} if "null-content" in parts else parts & {*_TEXTS} | {"content"}
    pieces: Pieces = {name: draw(_TOKENS) for name in _TEXTS if name in texts}
    if "empty-content" in parts:
        pieces["content"] = ()
    message: Json = {"role": "assistant", "content": None, "refusal": None}
    message |= {name: "".join(told) for name, told in pieces.items()}
    reason = draw(_REASONS)
    if "tool_calls" in parts:
        calls = draw(_CALLS)
        message["tool_calls"] = [_call(n, "".join(told)) for n, told in enumerate(calls)]
        pieces |= {f"call {n}": told for n, told in enumerate(calls)}
        reason = "tool_calls"
    elif "function_call" in parts:
        pieces["function_call"] = draw(_ARGUMENTS)
        message["function_call"] = {"name": "f", "arguments": "".join(pieces["function_call"])}
        reason = "function_call"
    if "annotations" in parts:
        message["annotations"] = draw(_CITATIONS)
    if "reasoning_details" in parts:
        pieces["details"] = draw(_TOKENS)
        message["reasoning_details"] = [{**_DETAIL, "text": "".join(pieces["details"])}]
    choice: Json = {"message": message, "logprobs": None, "finish_reason": reason}
    if "logprobs" in parts and any(map(pieces.get, ("content", "refusal"))):
        choice["logprobs"] = {name: _logprobs(pieces.get(name)) for name in ("content", "refusal")}
    if "native_finish_reason" in parts:
        choice["native_finish_reason"] = reason
    return choice, pieces


def _call(number: int, arguments: str) -> Json:
    function = {"name": f"f{number}", "arguments": arguments}
    return {"id": f"call-{number}", "type": "function", "function": function}


def _logprobs(pieces: Sequence[str] | None) -> list[Json] | None:
    if not pieces:
        return None
    return [
        {"token": p, "logprob": -0.5, "bytes": [*p.encode()], "top_logprobs": []} for p in pieces
    ]


@dataclass(frozen=True)
class RichAnswer:
    """An answer with `choices` choices, and its body in each form."""

    choices: int
    bodies: dict[Form, bytes]


@st.composite
def rich_answers(draw: st.DrawFn) -> RichAnswer:
    """Return a random answer, cut into a random stream."""
    told = draw(st.lists(_choices(), min_size=1, max_size=2))
    fields = draw(_FIELDS)
    usage = fields.pop("usage", None)
    random = Random(draw(st.integers(0, 2**16)))  # noqa: S311 - cuts
    choices = [{"index": n, **choice} for n, (choice, _) in enumerate(told)]
    envelope = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_600_000_000}
    whole = {**envelope, **fields, "choices": choices, **({"usage": usage} if usage else {})}
    pieces = [of_choice for _, of_choice in told]
    return RichAnswer(
        len(told),
        {
            WHOLE: json.dumps(whole, ensure_ascii=random.random() < 0.5).encode(),
            PLAIN: _stream(fields, choices, pieces, None, random),
            WITH_USAGE: _stream(fields, choices, pieces, usage, random),
        },
    )


def _stream(
    fields: Json,
    choices: Sequence[Json],
    pieces: Sequence[Pieces],
    usage: Json | None,
    random: Random,
) -> bytes:
    """Return an answer as a stream: choices interleaved, sometimes several in one chunk."""
    envelope = {"id": "chatcmpl-2", "object": "chat.completion.chunk", "created": 1_600_000_001}
    always = {**envelope, **fields, **({"usage": None} if usage and random.random() < 0.5 else {})}
    told = [[*_told(c, p, random)] for c, p in zip(choices, pieces, strict=True)]
    chunks: list[list[Json]] = [[]] if random.random() < 0.1 else []
    chunks += [[choice.pop(0)] for choice in told]  # clients keep choices in the order they come in
    while any(told):
        left = [choice for choice in told if choice]
        picked = random.sample(left, random.randint(1, len(left)))
        chunks.append([choice.pop(0) for choice in picked])
    documents: list[Json] = [{**always, "choices": chunk} for chunk in chunks]
    if usage and random.random() < 0.3:
        documents[-1]["usage"] = usage
    elif usage:
        documents.append({**always, "choices": [], "usage": usage})
    end = random.choice(["\n\n", "\r\n\r\n"])
    escaped = random.random() < 0.5
    events = [f"data: {json.dumps(d, ensure_ascii=escaped)}{end}" for d in documents]
    if random.random() < 0.2:
        events.insert(1, f": ping{end}")
    return "".join([*events, f"data: [DONE]{end}"]).encode()


def _told(choice: Json, pieces: Pieces, random: Random) -> Iterator[Json]:
    message = choice["message"]
    rest = {n: v for n, v in choice.items() if n not in {"message", "logprobs", "finish_reason"}}
    opening = {"role": message["role"]}
    opening |= {n: v for n, v in message.items() if v is None and random.random() < 0.5}
    opening |= {
        n: "" for n in _TEXTS if message.get(n) == "" or (n in pieces and random.random() < 0.5)
    }
    annotations = message.get("annotations")
    is_early = random.random() < 0.5
    if annotations is not None and (is_early or not annotations):
        opening["annotations"] = annotations
    yield {**rest, "delta": opening, "finish_reason": None}
    base = {"index": choice["index"], "finish_reason": None}
    logprobs = choice["logprobs"] or {}
    for name in _TEXTS:
        for group in _groups(pieces.get(name, ()), random):
            beside = {"logprobs": {"content": None, "refusal": None, name: _logprobs(group)}}
            yield {
                **base,
                "delta": {name: "".join(group)},
                **(beside if logprobs.get(name) else {}),
            }
    for delta in _other_deltas(message, pieces, random):
        yield {**base, "delta": delta}
    if annotations and not is_early:
        yield {**base, "delta": {"annotations": annotations}}
    yield {**base, "delta": {}, "finish_reason": choice["finish_reason"]}


def _other_deltas(message: Json, pieces: Pieces, random: Random) -> Iterator[Json]:
    if random.random() < 0.1:
        yield {}
    for detail in message.get("reasoning_details", ()):
        opening = {**detail, "text": ""}
        yield {"reasoning_details": [opening]}
        for group in _groups(pieces["details"], random):
            yield {"reasoning_details": [{"index": 0, "text": "".join(group)}]}
    if call := message.get("function_call"):
        yield {"function_call": {**call, "arguments": ""}}
        for group in _groups(pieces["function_call"], random):
            yield {"function_call": {"arguments": "".join(group)}}
    for n, call in enumerate(message.get("tool_calls", ())):
        fragments = [
            {"index": n, "function": {"arguments": "".join(group)}}
            for group in _groups(pieces[f"call {n}"], random)
        ]
        opening = {**call, "index": n, "function": {**call["function"], "arguments": ""}}
        for group in _groups([opening, *fragments], random):
            yield {"tool_calls": group}


def _groups(pieces: Sequence[Any], random: Random) -> Iterator[list[Any]]:
    """Yield pieces in random groups of neighbours."""
    ends = [n for n in range(1, len(pieces)) if random.random() < 0.5]
    if pieces:
        for a, b in itertools.pairwise([0, *ends, len(pieces)]):
            yield [*pieces[a:b]]
