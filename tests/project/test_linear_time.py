"""No work on the text of a request, or of an answer, grows faster than its length."""

import gc
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from app.api.admin.explain import _lines
from app.api.middleware import _host_name
from app.core.cache_status import CacheStatus, Head
from app.core.errors import InvalidRequest, NotUnderstood
from app.core.inflight import Hold, Inflight
from app.core.models import ClientRequest, Header
from app.core.tags import tagging_of
from app.dialects.chat_completions.chunks import CompletionBuilder, chunks_of
from app.dialects.chat_completions.request import ChatRequest
from app.dialects.chunked import without_usage
from app.dialects.completions.chunks import CompletionBuilder as TextBuilder
from app.dialects.completions.chunks import chunks_of as text_chunks_of
from app.dialects.completions.request import CompletionRequest
from app.dialects.embeddings import EmbeddingsRequest
from app.dialects.messages.events import MessageBuilder, events_of
from app.dialects.messages.request import MessagesRequest
from app.dialects.sse import Event
from app.dialects.strict_json import load_json
from app.engine.explain import _unlikeness
from app.engine.recorder import Recorder
from app.inference.local_embedder import TOKENIZER
from app.inference.onnx import WholeTexts, loses_characters
from app.matching.guards.evidence import Term
from app.matching.guards.lexing import Kind, pieces, quoted, straighten
from app.matching.guards.likeness import are_related, is_short_for, may_be_the_same
from app.matching.guards.proofs import refusals
from app.matching.guards.reading import examine
from app.matching.guards.writing import differ_in_literal_space, encoded_words, has_own_encoding
from app.matching.payload import has, makes_payload, payload_of
from app.matching.templates import template_of
from app.rules import time_bound
from app.rules.directives import directives
from app.rules.headers import end_to_end
from app.rules.key import KeyRules, build_embedding_keys, build_key
from app.rules.key_parts import key_parts
from app.rules.limits import Limits
from app.rules.must_be_new import must_be_new

Work = Callable[[str], object]

LENGTH = 4096  # characters
SHORTER = 4  # times
MOST_GROWTH = 9  # of the time, for four times the length; that of a square is 16
FLOOR = 0.01  # seconds of CPU time; what takes less holds nobody up, however it grows
RUNS = 12

RULES = KeyRules("https://upstream.example/v1")
REQUEST = ClientRequest("POST", b"/chat/completions", b"", [])
MODEL = WholeTexts(TOKENIZER)
YEARS = itertools.count(2026)  # another one each time, so that nothing is remembered

# What is repeated: characters of each class, near matches of each pattern, and what NFKC expands.
UNITS = {
    "letters": "a",
    "capitals": "A",
    "digits": "7",
    "spaces": " ",
    "lines": "\n",
    "words": "word ",
    "few words": "a b ",
    "years": "2026 ",
    "commas": "1,",
    "full stops": "1.",
    "abbreviations": "U.S.",
    "dots": ".",
    "dotted words": "ab.cd",
    "colons": "1:",
    "quotes": '"',
    "apostrophes": "'",
    "apart apostrophes": " '",
    "elisions": "l'",
    "contractions": "isn't ",
    "clitics": "who's",
    "quoted": "'a ",
    "backticks": "`",
    "fences": "```",
    "code": "`a\n",
    "marks": "e\u0301",
    "underscores": "_",
    "hyphens": "a-",
    "slashes": "/",
    "paths": "a/b ",
    "dollars": "$",
    "braces": "${",
    "stars": "*",
    "angles": "<tool_result ",
    "observations": "observation\n",
    "pairs of brackets": "[]",
    "brackets": "[",
    "objects": '{"a":',
    "backslashes": "\\",
    "escapes": "\\u0041",
    "surrogates": "\\ud800",
    "labels": "Q:\n",
    "asked": "the question ",
    "tags": "<query>",
    "headings": ":\n\n",
    "opening quotes": "\u201c",
    "tasks": "find all the ",
    "roles": "as a ",
    "named": "is the word ",
    "humps": "aA",
    "two humps": "aAaA ",
    "three humps": "aAaAaA",
    "base64": "aGVsbG8= ",
    "directives": "max-age=1,",
    "bad directives": 'a="\\',
    "equal signs": "a = ",
    "upgrades": "\r\nupgrade: h2c",
    "data": "data: a\n",
    "carriage returns": "\r",
    "ligature": "\ufdfa",
    "square": "\u3316",
    "fraction": "\u00bd",
    "ellipsis": "\u2026",
    "dotted capital": "\u0130",
    "sharp s": "\u00df",
    "han": "\u6f22",
    "emoji": "\U0001f600",
    "marks out of order": "\u0301\u0316",
    "hangul": "\u1100\u1161",
    "full width": "\uff21",
    "roman": "\u2167",
    "acronyms": "ABC ",
    "names": "Ab Cd ",
    "own phrases": "heute ",
    "time-bound": "now today ",
    "phrases": "new york ",
    "negations": "not ",
    "choices": "or not ",
    "numbers": "twenty one ",
    "multipliers": "million ",
    "clock": "7:30 pm ",
    "units": "5 km ",
    "ranges": "2016-17 ",
    "questions": "why what ",
    "wishes": "please can you give me ",
    "chances": "flip and pick a strong ",
    "cookie": "a=1; ",
    "who to whom": "Ann sue me ",
    "directions": "from a to b ",
    "joints": "red and white ",
    "passive": "was seen by him ",
}
# What may keep an expression from matching at the first try, or let it match at the last.
FRAMES = (("", ""), ("", "z"), ("aA", "aA"), ('"', " b!"), ("`", "'"), (" '", "\n"))


def text_of(name: str, length: int) -> str:
    """Return a text of about `length`: a repeated unit between a beginning and an end."""
    begin, end = FRAMES[list(UNITS).index(name) % len(FRAMES)]
    return begin + UNITS[name] * (length // len(UNITS[name])) + end


def body_of(text: str) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()


def read_chat(text: str) -> None:
    chat = ChatRequest.parse(body_of(text))
    assert chat.bypass_reason(1.0) is None
    build_key(REQUEST, chat, RULES)
    key_parts(REQUEST, chat, RULES)


def read_messages(text: str) -> None:
    """Read a request in which each word of the text is a message."""
    messages = [{"role": "user", "content": word} for word in ("a", *text.split())]
    chat = ChatRequest.parse(json.dumps({"model": "m", "messages": messages}).encode())
    build_key(REQUEST, chat, RULES)
    key_parts(REQUEST, chat, RULES)


def read_names(text: str) -> None:
    """Read a request in which each word of the text is a name in the body."""
    others = {f"{index}{word}": word for index, word in enumerate(text.split())}
    message = {"role": "user", "content": text}
    body = json.dumps({"model": "m", "messages": [message], **others}).encode()
    key_parts(REQUEST, ChatRequest.parse(body), RULES)


def read_inputs(text: str) -> None:
    inputs = ["a", *text.split()][:4096]
    body = json.dumps({"model": "m", "input": inputs}).encode()
    build_embedding_keys(REQUEST, EmbeddingsRequest.parse(body), RULES)


def read_json(text: str) -> None:
    with suppress(NotUnderstood):
        load_json(text)


def read_headers(text: str) -> None:
    value = text.encode("latin-1", "replace")
    names = (
        b"cache-control",
        b"x-cache-ttl",
        b"x-cache-max-distance",
        b"x-cache-tags",
        b"x-cache-tier",
    )
    lines: list[Header] = [(name, value) for name in (*names, b"x-cache-namespace", b"connection")]
    directives(lines)
    tagging_of(lines)
    end_to_end(lines)
    _host_name(text)


def read_cookies(text: str) -> None:
    lines: list[Header] = [(b"cookie", text.replace(" ", ";").encode())]
    request = ClientRequest("POST", b"/chat/completions", b"", lines)
    chat = ChatRequest.parse(body_of("a"))
    build_key(request, chat, RULES)
    key_parts(request, chat, RULES)


def read_calls(text: str) -> None:
    """Read a request in which each word is a tool call, and the text is the calls' result."""
    calls = [{"id": f"{number}{word}"} for number, word in enumerate(("a", *text.split()))]
    told = [{"role": "assistant", "tool_calls": calls}, {"role": "user", "content": text}]
    build_key(
        REQUEST, ChatRequest.parse(json.dumps({"model": "m", "messages": told}).encode()), RULES
    )


def read_prompt(text: str) -> None:
    """Read requests with the text as the prompt and the stop, and with its words as prompts."""
    for prompt in (text, ["a", *text.split()]):
        body = json.dumps({"model": "m", "prompt": prompt, "stop": text}).encode()
        build_key(REQUEST, CompletionRequest.parse(body), RULES)


def tell_tokens(text: str) -> None:
    """Cut a text completion between its tokens, one per character, and join it again."""
    logprobs = {"tokens": list(text), "token_logprobs": [-1.0] * len(text)}
    choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": "stop"}
    builder = TextBuilder()
    for chunk in text_chunks_of({"model": "m", "choices": [choice]}, include_usage=False):
        builder.add(chunk)
    assert builder.completion()["choices"] == [choice]


def read_blocks(text: str) -> None:
    """Read one of Anthropic's requests: each word is a tool call, and the text is the result."""
    words = ["a", *text.split()]
    calls = [
        {"type": "tool_use", "id": f"{number}{word}", "name": word, "input": {word: [text[:99]]}}
        for number, word in enumerate(words)
    ]
    told = [
        {"role": "assistant", "content": calls},
        {"role": "user", "content": [{"type": "text", "text": text}]},
    ]
    body = json.dumps({"model": "m", "system": text, "messages": told, "tools": calls}).encode()
    request = MessagesRequest.parse(body)
    request.bypass_reason(1.0)
    build_key(REQUEST, request, RULES)
    key_parts(REQUEST, request, RULES)


def tell_blocks(text: str) -> None:
    """Cut one of Anthropic's messages into events, and join them again."""
    call = {"type": "tool_use", "id": "a", "name": "f", "input": {"a": text}}
    cited = {"type": "text", "text": text, "citations": text.split() or None}
    thoughts = {"type": "thinking", "thinking": text, "signature": text}
    document = {"content": [thoughts, cited, call], "usage": {"output_tokens": 1}}
    builder = MessageBuilder()
    for event in events_of(document, "msg"):
        builder.add(event)
    assert builder.message()["content"] == document["content"]


def read_told_headers(text: str) -> None:
    with suppress(InvalidRequest):
        _lines({"cache-control": text, text: ["a"]})


def record(text: str) -> None:
    """Record the text as an upstream's stream that arrives in small pieces."""
    stream = (b"content-type", b"text/event-stream")
    chat = ChatRequest.parse(body_of("a"))
    recording = Recorder(
        Head(200, [stream], CacheStatus.miss("")),
        Limits(),
        lambda is_stream: chat.reader(is_stream=is_stream),
        Hold(Inflight()),
    )
    raw = text.encode()
    for at in range(0, len(raw), 8):
        recording.feed(raw[at : at + 8])
    recording.end()
    recording.outcome()


def tell(text: str) -> None:
    """Cut an answer into chunks, and join them again."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    builder = CompletionBuilder()
    for chunk in chunks_of({"model": "m", "choices": [choice]}, include_usage=False):
        builder.add(chunk)
        without_usage(Event(json.dumps(chunk)))
    assert builder.completion()["choices"][0]["message"]["content"] == text


def terms_of(text: str) -> list[Term]:
    words = text.split() or ["a"]
    return [Term(word, (word,), Kind.WORD, is_name=True, is_acronym=True) for word in words]


def compare_names(text: str) -> None:
    x, y = terms_of(text), terms_of(f"{text[:1]}{text.swapcase()}x")
    may_be_the_same(x, y)
    is_short_for(x[0], [term.word for term in y])
    are_related(x[0], y[0])


def compare_encoded(text: str) -> None:
    words = [f"{index}aAbBcC{word}" for index, word in enumerate(text.split() or ["a"])]
    one, other = " ".join(words), " ".join(word.swapcase() for word in words)
    has_own_encoding(encoded_words(one), encoded_words(other), other)


def with_another(change: Work) -> Work:
    """Return work that compares a text with its changed version."""
    return lambda text: refusals(examine(text), examine(str(change(text))))


WORK: dict[str, Work] = {
    "time-bound": lambda text: time_bound.judge(text, next(YEARS)),
    "must be new": must_be_new,
    "straighten": straighten,
    "quoted": lambda text: quoted(straighten(text)),
    "pieces": lambda text: pieces(straighten(text)),
    "longer by a word": with_another(lambda text: f"{text} more"),
    "the other case": with_another(str.swapcase),
    "words in reverse": with_another(lambda text: " ".join(reversed(text.split()))),
    "other words": with_another(lambda text: " ".join(f"{word}z" for word in text.split())),
    "other roles": with_another(lambda text: text.replace("Ann", "I").replace(" me", " Ann")),
    "what is done to a text": lambda text: has(text, payload_of(text)),
    "instructions": makes_payload,
    "template": template_of,
    "names": compare_names,
    "encoded": encoded_words,
    "own encoding": compare_encoded,
    "space": lambda text: differ_in_literal_space(text, f"{text} b"),
    "common words": lambda text: _unlikeness(text, f"{text}a"),
    "chat": read_chat,
    "messages": read_messages,
    "names in the body": read_names,
    "inputs": read_inputs,
    "JSON": read_json,
    "JSON in a string": lambda text: load_json(json.dumps([text, {text: 1}])),
    "headers": read_headers,
    "cookies": read_cookies,
    "calls": read_calls,
    "prompt": read_prompt,
    "tokens of a completion": tell_tokens,
    "blocks": read_blocks,
    "events": tell_blocks,
    "headers of an explanation": read_told_headers,
    "stream": record,
    "answer": tell,
    "what a model drops": loses_characters,
    "tokens": MODEL.encode,
}


@contextmanager
def no_collection() -> Iterator[None]:
    """Turn garbage collection off, so that it does not add to the measured times."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def seconds(work: Work, text: str, runs: int = 1) -> float:
    """Return the CPU time of this thread for the work: the shortest of `runs` runs."""
    took = []
    for _ in range(runs):
        begin = time.thread_time()
        work(text)
        took.append(time.thread_time() - begin)
    return min(took)


def growth(work: Work, name: str) -> float:
    """Return the time for a text of fourfold length, relative to the short text; 0 if it is quick.

    Both lengths are measured in turn, so that a machine's slow seconds affect both. The shortest
    time of each counts, and growth that is too high is measured again, up to `RUNS` times.
    """
    texts = text_of(name, LENGTH), text_of(name, LENGTH // SHORTER)
    long = short = math.inf
    for _ in range(RUNS):
        long = min(long, seconds(work, texts[0]))
        if long < FLOOR:
            return 0.0
        short = min(short, seconds(work, texts[1]))
        if long / short <= MOST_GROWTH:
            break
    return long / short


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_time_grows_no_faster_than_a_text(work: Work) -> None:
    with no_collection():
        grown = {name: growth(work, name) for name in UNITS}
    assert {name: times for name, times in grown.items() if times > MOST_GROWTH} == {}


def test_what_grows_faster_than_a_text_is_noticed() -> None:
    def cube(text: str) -> int:  # a square is too near to the limit where others use the processor
        return sum(sum(map(ord, text)) for _ in range((len(text) // 64) ** 2))

    with no_collection():
        assert growth(cube, "letters") > MOST_GROWTH


@pytest.mark.parametrize("unit", ["\u3316", "\u2167", "\ufdfa", "\u0301\u0316", "a", "_"])
def test_a_text_that_normal_forms_expand_stays_quick(unit: str) -> None:
    text = unit * (3990 // len(unit)) + "z"
    with no_collection():
        assert seconds(lambda text: time_bound.judge(text, next(YEARS)), text, RUNS) < 0.1
    assert len(straighten(text)) <= 4 * len(text)


@pytest.mark.parametrize("work", [straighten, loses_characters, MODEL.encode])
def test_marks_out_of_order_are_sorted_quickly(work: Work) -> None:
    with no_collection():
        assert seconds(work, "\u0301\u0316" * 16_000, RUNS) < 0.2


def test_what_is_encoded_is_found_as_quickly_as_anything() -> None:
    text = "aA" + "a" * 8000 + "aA"
    with no_collection():
        assert seconds(lambda text: refusals(examine(text), examine(f"{text}x")), text, RUNS) < 0.1
