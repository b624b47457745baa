import json
from typing import Any

import pytest
from hypothesis import given

from app.core.errors import NotUnderstood
from app.dialects.chat_completions.request import ChatRequest, texts_of
from app.dialects.strict_json import load_json
from tests.strategies import JSON

HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


@given(JSON)
def test_json_is_read_as_everyone_reads_it(document: object) -> None:
    assert load_json(json.dumps(document)) == document
    assert load_json(json.dumps(document, ensure_ascii=False).encode()) == document


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":"\\ud800"}',
        b'{"\\udc00":1}',
        b'{"a":"\\ud83d \\ude00"}',
        b"[" * 201 + b"]" * 201,
        b'{"a":' * 300 + b"1" + b"}" * 300,
    ],
)
def test_json_that_parsers_read_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(NotUnderstood, match=r"^ambiguous-json$"):
        load_json(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1} x',
        b"\xff\xfe{\x00}\x00",
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b"[" * 40_000,
        b"9" * 5_000,
    ],
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(NotUnderstood, match=r"^not-json$"):
        load_json(raw)


def test_nesting_is_read_as_deep_as_anyone_writes_it() -> None:
    assert load_json(b"[" * 199 + b"1" + b"]" * 199)
    assert len(load_json(b"[" + b"[1]," * 1000 + b"1]")) == 1001


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 60_000,
        b"[" + b"[]," * 50_000 + b"1]",
        b"[" + b'"",' * 60_000 + b"1]",
        rb'["\\",' + rb'"\"\\\"",' * 60_000 + b"1]",
        b"[" + b"1," * 600_000 + b"1]",
        b"{" + b",".join(b'"%d":{}' % number for number in range(30_000)) + b"}",
    ],
)
def test_json_of_too_many_parts_is_refused(raw: bytes) -> None:
    with pytest.raises(NotUnderstood, match=r"^too-complex$"):
        load_json(raw)


@pytest.mark.parametrize(
    "text", ["a, b: [c] {d}", '"', r"\"", "\\", r"\\\"[", "[[", '{"a": [1, 2]}, ', "\u6f22,\n"]
)
def test_a_long_text_is_one_part_whatever_is_in_it(text: str) -> None:
    document = {"a": text * 60_000, "b": [text[-1] * 60_000, "\\"]}
    for raw in (json.dumps(document), json.dumps(document, ensure_ascii=False)):
        assert load_json(raw) == document


def test_as_many_parts_as_are_real_are_read() -> None:
    raw = json.dumps([{"role": "user", "content": "a"}] * 9_000).encode()
    assert len(load_json(raw)) == 9_000
    assert len(load_json(json.dumps([*range(300_000)]))) == 300_000


def test_an_escaped_pair_of_surrogates_is_one_character() -> None:
    assert load_json(b'"\\ud83d\\ude00"') == "😀"


def test_a_view_shows_what_decides() -> None:
    chat = ChatRequest.parse(
        json.dumps(
            {
                **HELLO,
                "n": 2,
                "temperature": 0.5,
                "stream": True,
                "stream_options": {"include_usage": True},
                "never_heard_of": 1,
            }
        ).encode()
    )
    assert (chat.model, chat.choices, chat.temperature) == ("m", 2, 0.5)
    assert (chat.stream, chat.include_usage) == (True, True)
    assert chat.document["never_heard_of"] == 1


def test_absent_and_null_fields_have_their_defaults() -> None:
    nulls = dict.fromkeys(["n", "temperature", "stream", "stream_options"])
    for document in (HELLO, {**HELLO, **nulls}):
        chat = ChatRequest.parse(json.dumps(document).encode())
        assert (chat.choices, chat.temperature) == (1, None)
        assert (chat.stream, chat.include_usage) == (False, False)


@pytest.mark.parametrize(
    "document",
    [
        [],
        "text",
        None,
        {},
        {"messages": HELLO["messages"]},
        {**HELLO, "model": ""},
        {**HELLO, "model": 1},
        {**HELLO, "messages": []},
        {**HELLO, "messages": {}},
        {**HELLO, "messages": ["Hello"]},
        {**HELLO, "messages": [{"content": "Hello"}]},
        {**HELLO, "messages": [{"role": 1, "content": "Hello"}]},
        {**HELLO, "messages": [{"role": "user", "content": 0}]},
        {**HELLO, "messages": [{"role": "user", "content": {"text": "Hello"}}]},
        {**HELLO, "messages": [{"role": "user", "content": ["Hello"]}]},
        {**HELLO, "messages": [{"role": "user", "content": [{"text": "Hello"}]}]},
        {**HELLO, "stream": "true"},
        {**HELLO, "stream": 1},
        {**HELLO, "stream_options": True},
        {**HELLO, "stream_options": {"include_usage": 1}},
        {**HELLO, "n": True},
        {**HELLO, "n": 1.0},
        {**HELLO, "temperature": "1"},
        {**HELLO, "temperature": False},
    ],
)
def test_a_body_that_is_not_what_we_know_is_refused(document: object) -> None:
    with pytest.raises(NotUnderstood, match=r"^unknown-body$"):
        ChatRequest.parse(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("Hello", ["Hello"]),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], ["a", "b"]),
        ([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}], None),
        ([{"type": "text"}], None),
        ([{"type": "text", "text": None}], None),
        ([], None),
        (None, None),
    ],
)
def test_the_texts_of_a_message_are_all_of_it_or_nothing(
    content: object, texts: list[str] | None
) -> None:
    assert texts_of(content) == texts


def chat(content: object = "Hello", **fields: Any) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": content}], **fields}
    return ChatRequest.parse(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (chat(), None),
        (chat(store=False), None),
        (chat(store=None), None),
        (chat(store=True), "store"),
        (chat(web_search_options={}), "web-search"),
        (chat(web_search_options=None), None),
        (chat(plugins=[{"id": "web"}]), "plugins"),
        (chat(audio={"voice": "alloy"}), "audio"),
        (chat(modalities=["text", "audio"]), "audio"),
        (chat(modalities=["text"]), None),
        (chat([{"type": "input_audio", "input_audio": {}}]), "audio"),
        (chat([{"type": "audio_url", "audio_url": {}}]), "audio"),
        (chat(temperature=1.0), None),
        (chat(temperature=1.01), "temperature"),
        (chat(temperature=2), "temperature"),
    ],
)
def test_some_requests_must_not_use_the_cache(request_: ChatRequest, reason: str | None) -> None:
    assert request_.bypass_reason(1.0) == reason


def test_an_earlier_spoken_answer_is_audio_too() -> None:
    messages = [
        {"role": "assistant", "audio": {"id": "audio_1"}},
        {"role": "user", "content": "Say it again."},
    ]
    spoken = ChatRequest.parse(json.dumps({"model": "m", "messages": messages}).encode())
    assert spoken.bypass_reason(1.0) == "audio"


def test_the_operator_sets_the_highest_temperature() -> None:
    assert chat(temperature=0).bypass_reason(0.0) is None
    assert chat(temperature=0.1).bypass_reason(0.0) == "temperature"
