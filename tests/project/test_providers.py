"""Streams of OpenAI-compatible servers, in the shapes that their documentation shows."""

import json
from typing import Any

import pytest

from app.dialects.chat_completions.chunks import CompletionBuilder, chunks_of
from app.dialects.sse import EventParser
from tests.engine.test_recorder import STREAM_TYPE, Recorded

HEAD = '"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m"'
DONE = "data: [DONE]\n\n"


def lines(*chunks: str) -> bytes:
    return "".join([*(f"data: {{{HEAD},{chunk}}}\n\n" for chunk in chunks), DONE]).encode()


def choice(delta: str, finish: str = "null", more: str = "") -> str:
    return f'"choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}{more}}}]'


OPENAI = lines(
    choice('{"role":"assistant","content":"","refusal":null}', more=',"logprobs":null')
    + ',"service_tier":"default","system_fingerprint":"fp","usage":null,"obfuscation":"aB3"',
    choice('{"content":"Hi"}') + ',"usage":null,"obfuscation":"x"',
    choice('{"annotations":[{"type":"url_citation","url_citation":{"url":"u"}}]}'),
    choice('{"content":" you"}'),
    choice("{}", '"stop"'),
    '"choices":[],"usage":{"total_tokens":3,"prompt_tokens_details":{"cached_tokens":1}}',
)
AZURE = (
    b'data: {"id":"","object":"","created":0,"model":"","choices":[],"prompt_filter_results":'
    b'[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false}}}]}\n\n'
) + lines(
    choice('{"role":"assistant","content":""}', more=',"content_filter_results":{}'),
    choice(
        '{"content":"Hi you"}',
        more=',"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}',
    ),
    choice("{}", '"stop"', ',"content_filter_results":{}'),
)
VLLM = lines(
    choice('{"role":"assistant","content":""}', more=',"logprobs":null')
    + ',"prompt_token_ids":[1]',
    choice('{"reasoning":"Hm"}', more=',"logprobs":null,"token_ids":null'),
    choice('{"content":"Hi you"}', more=',"logprobs":null,"token_ids":null'),
    choice('{"content":""}', '"stop"', ',"logprobs":null,"stop_reason":null'),
    '"choices":[],"usage":{"prompt_tokens":1,"total_tokens":3}',
)
LLAMA_CPP = lines(
    choice('{"role":"assistant","content":null}') + ',"system_fingerprint":"b1-a"',
    choice('{"content":"Hi you"}') + ',"system_fingerprint":"b1-a"',
    choice("{}", '"stop"')
    + ',"system_fingerprint":"b1-a","usage":{"total_tokens":3},"timings":{"predicted_ms":1.5}',
)
OLLAMA = lines(
    choice('{"role":"assistant","content":"Hi"}') + ',"system_fingerprint":"fp_ollama"',
    choice('{"role":"assistant","content":" you"}') + ',"system_fingerprint":"fp_ollama"',
    choice('{"role":"assistant","content":""}', '"stop"') + ',"system_fingerprint":"fp_ollama"',
)
MISTRAL = lines(
    choice('{"role":"assistant","content":""}'),
    choice('{"content":"Hi you"}') + ',"p":"abcd"',
    choice('{"content":""}', '"stop"') + ',"usage":{"total_tokens":3}',
)
DEEPSEEK = lines(
    choice('{"role":"assistant","content":null,"reasoning_content":""}') + ',"usage":null',
    choice('{"content":null,"reasoning_content":"H"}') + ',"usage":null',
    choice('{"content":null,"reasoning_content":"m"}') + ',"usage":null',
    choice('{"content":"Hi you","reasoning_content":null}') + ',"usage":null',
    choice('{"content":"","reasoning_content":null}', '"stop"')
    + ',"usage":{"total_tokens":3,"completion_tokens_details":{"reasoning_tokens":1}}',
)
GROQ = lines(
    choice('{"role":"assistant","content":""}') + ',"x_groq":{"id":"req_1"}',
    choice('{"content":"Hi you"}'),
    choice("{}", '"stop"') + ',"x_groq":{"id":"req_1","usage":{"total_tokens":3}}',
)
_DETAIL = '{"type":"reasoning.text","text":"%s","format":"unknown","index":0}'
_THOUGHT = f'"content":"","reasoning":"%s","reasoning_details":[{_DETAIL}]'
OPENROUTER = b": OPENROUTER PROCESSING\n\n" * 2 + lines(
    '"provider":"P",' + choice(f'{{"role":"assistant",{_THOUGHT % ("H", "H")}}}'),
    '"provider":"P",' + choice(f'{{"role":"assistant",{_THOUGHT % ("m", "m")}}}'),
    '"provider":"P",' + choice('{"content":"Hi you"}', more=',"native_finish_reason":null'),
    '"provider":"P",' + choice('{"content":""}', '"stop"', ',"native_finish_reason":"STOP"'),
)
STREAMS = {
    "openai": OPENAI,
    "azure": AZURE,
    "vllm": VLLM,
    "llama.cpp": LLAMA_CPP,
    "ollama": OLLAMA,
    "mistral": MISTRAL,
    "deepseek": DEEPSEEK,
    "groq": GROQ,
    "openrouter": OPENROUTER,
}
WIRES = {
    "as it came": lambda stream: stream,
    "CRLF": lambda stream: stream.replace(b"\n", b"\r\n"),
    "CR": lambda stream: stream.replace(b"\n", b"\r"),
    "no space": lambda stream: stream.replace(b"data: ", b"data:"),
    "several lines": lambda stream: stream.replace(b',"object"', b',\ndata: "object"'),
}


def kept(stream: bytes, size: int) -> dict[str, Any]:
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    return Recorded(STREAM_TYPE).play(*pieces).completion


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", STREAMS)
def test_the_stream_of_a_server_is_kept_and_told_again_without_loss(name: str, wire: str) -> None:
    stream = WIRES[wire](STREAMS[name])
    completion = kept(stream, 5)
    assert completion["model"] == "m"
    assert completion["choices"][0]["message"]["content"] == "Hi you"
    assert completion["choices"][0]["finish_reason"] == "stop"
    builder = CompletionBuilder()
    for chunk in chunks_of(completion, include_usage=True):
        builder.add(chunk)
    assert builder.completion() == completion == kept(STREAMS[name], len(stream))


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("openai", ["service_tier"], "default"),
        ("openai", ["usage", "prompt_tokens_details", "cached_tokens"], 1),
        ("openai", ["choices", 0, "message", "annotations", 0, "type"], "url_citation"),
        ("azure", ["prompt_filter_results", 0, "prompt_index"], 0),
        ("vllm", ["choices", 0, "message", "reasoning"], "Hm"),
        ("vllm", ["prompt_token_ids"], [1]),
        ("llama.cpp", ["timings", "predicted_ms"], 1.5),
        ("deepseek", ["choices", 0, "message", "reasoning_content"], "Hm"),
        ("deepseek", ["usage", "completion_tokens_details", "reasoning_tokens"], 1),
        ("mistral", ["usage", "total_tokens"], 3),
        ("groq", ["x_groq", "usage", "total_tokens"], 3),
        ("openrouter", ["choices", 0, "message", "reasoning"], "Hm"),
        ("openrouter", ["choices", 0, "message", "reasoning_details", 0, "text"], "Hm"),
        ("openrouter", ["choices", 0, "message", "reasoning_details", 0, "format"], "unknown"),
        ("openrouter", ["choices", 0, "native_finish_reason"], "STOP"),
        ("openrouter", ["provider"], "P"),
    ],
)
def test_what_only_one_server_tells_is_kept(name: str, path: list[Any], value: object) -> None:
    found: Any = kept(STREAMS[name], 1000)
    for step in path:
        found = found[step]
    assert found == value


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ('{"error":{"message":"overloaded","code":502}}', "unknown-body"),
        (
            f'{{{HEAD},"error":{{"code":502}},{choice("{}", chr(34) + "error" + chr(34))}}}',
            "error",
        ),
    ],
)
def test_an_error_in_the_middle_of_a_stream_is_not_kept(error: str, reason: str) -> None:
    begin, _, _ = OPENROUTER.partition(b'"Hi you"')
    stream = begin[: begin.rindex(b"data: ")] + f"data: {error}\n\n{DONE}".encode()
    recorded = Recorded(STREAM_TYPE).play(stream)
    assert (recorded.kept, recorded.reason) == ([], reason)


def test_the_fixtures_are_what_servers_send() -> None:
    for stream in STREAMS.values():
        *events, done = EventParser().feed(stream)
        assert done.data == "[DONE]"
        assert all(isinstance(json.loads(event.data)["choices"], list) for event in events)
