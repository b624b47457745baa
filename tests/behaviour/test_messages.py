"""Anthropic's official SDK, unchanged but for `base_url`, on real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import Message
from pydantic import BaseModel, ValidationError

from app.dialects.messages.events import events_of
from tests.dialects.messages import message
from tests.servers import STREAM_TYPE, Exchange, Setup

QUESTION: Any = [{"role": "user", "content": "valkey what"}]
PARAPHRASE: Any = [{"role": "user", "content": "valkey is what"}]
TOOL: Any = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {}}, "required": ["city"]},
}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Köln"}}
THOUGHTS = {"type": "thinking", "thinking": "Valkey, what is it? " * 9, "signature": "sig=="}
SAID = {"type": "text", "text": "Valkey is a key-value store. " * 9, "citations": None}
MODEL: Any = {"model": "claude-test", "max_tokens": 2000}


async def send(exchange: Exchange, answer: dict[str, Any]) -> None:
    """Answer as Anthropic does, streamed or not."""
    await exchange.read()
    if not exchange.document.get("stream"):
        await exchange.answer(answer)
        return
    await exchange.start(200, STREAM_TYPE, (b"cache-control", b"no-cache"))
    for number, event in enumerate(events_of(answer, answer["id"])):
        if number == 2:
            await exchange.write(b'event: ping\ndata: {"type": "ping"}\n\n')
        told = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
        await exchange.write(told.encode())
    await exchange.end()


class Answering:
    """An upstream that gives one answer."""

    def __init__(self, *content: dict[str, Any], **fields: Any) -> None:
        self.answer = message(*(content or (SAID,)), **fields)

    async def __call__(self, exchange: Exchange) -> None:
        await send(exchange, self.answer)


@pytest.fixture
def setup() -> Setup:
    setup = Setup()
    setup.upstream.handler = Answering()
    return setup


@pytest.fixture
async def client(base_url: str) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with client_at(base_url) as client:
        yield client


def client_at(url: str, **options: Any) -> anthropic.AsyncAnthropic:
    root = url.removesuffix("/v1")
    options = {"api_key": "sk-ant-1", "max_retries": 0, **options}
    return anthropic.AsyncAnthropic(base_url=root, **options)


Told = tuple[str, Message]


async def whole(client: anthropic.AsyncAnthropic, messages: Any, **fields: Any) -> Told:
    raw = await client.messages.with_raw_response.create(messages=messages, **MODEL, **fields)
    return raw.headers["x-cache"], await _parsed(raw)


async def _parsed(raw: Any) -> Message:
    told = raw.parse()
    parsed: Message = await told if asyncio.iscoroutine(told) else told
    return parsed


async def streamed(client: anthropic.AsyncAnthropic, messages: Any, **fields: Any) -> Told:
    async with client.messages.stream(messages=messages, **MODEL, **fields) as stream:
        told = await stream.get_final_message()
        return stream.response.headers["x-cache"], told


def essence(told: Message) -> dict[str, Any]:
    return told.model_dump(exclude={"id"}, exclude_none=True)


ASKING = pytest.mark.parametrize("second", [whole, streamed])


@pytest.mark.parametrize("first", [whole, streamed])
@ASKING
@pytest.mark.parametrize("content", [[SAID], [THOUGHTS, SAID]])
async def test_an_answer_in_one_form_serves_the_other_to_the_same_object(
    client: anthropic.AsyncAnthropic, setup: Setup, first: Any, second: Any, content: Any
) -> None:
    setup.upstream.handler = Answering(*content)
    miss, told = await first(client, QUESTION)
    assert miss == "MISS"
    assert essence(told) == essence(Message.model_validate(setup.upstream.handler.answer))
    for question in (QUESTION, PARAPHRASE):
        hit, again = await second(client, question)
        assert (hit, essence(again)) == ("HIT", essence(told))
        assert again.id.startswith("msg_")
        assert again.id != told.id
    assert len(setup.upstream.exchanges) == 1


@ASKING
async def test_calls_of_tools_are_replayed_to_their_very_question(
    client: anthropic.AsyncAnthropic, setup: Setup, second: Any
) -> None:
    setup.upstream.handler = Answering(THOUGHTS, CALL)
    _, told = await streamed(client, QUESTION, tools=[TOOL])
    assert told.content[1].to_dict() == CALL
    hit, again = await second(client, QUESTION, tools=[TOOL])
    assert (hit, essence(again)) == ("HIT", essence(told))
    assert (await second(client, PARAPHRASE, tools=[TOOL]))[0] == "MISS"


async def test_a_tool_that_must_be_called_answers_by_meaning_too(
    client: anthropic.AsyncAnthropic, setup: Setup
) -> None:
    setup.upstream.handler = Answering(CALL)
    options: Any = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "get_weather"}}
    assert (await whole(client, QUESTION, **options))[0] == "MISS"
    assert (await whole(client, PARAPHRASE, **options))[0] == "HIT"


async def test_a_conversation_with_a_tool_goes_on_as_it_did(
    client: anthropic.AsyncAnthropic, setup: Setup
) -> None:
    """The client sends the replayed message back, with signed thoughts and the tool's result."""
    statuses = []
    for _ in range(2):
        setup.upstream.handler = Answering(THOUGHTS, CALL)
        status, told = await streamed(client, QUESTION, tools=[TOOL])
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "12 °C"}
        history = [
            *QUESTION,
            {"role": "assistant", "content": told.content},
            {"role": "user", "content": [result]},
        ]
        setup.upstream.handler = Answering(SAID)
        statuses += [status, (await whole(client, history, tools=[TOOL]))[0]]
    assert statuses == ["MISS", "MISS", "HIT", "HIT"]
    sent = setup.upstream.exchanges[1].document["messages"][1]["content"][0]
    assert sent == THOUGHTS


RECORDED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("message_start", {"message": {
        "id": "msg_01", "type": "message", "role": "assistant", "model": "claude-test",
        "content": [], "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 472, "output_tokens": 2, "cache_read_input_tokens": 64,
                  "cache_creation_input_tokens": 0, "service_tier": "standard"}}}),
    ("content_block_start", {"index": 0, "content_block": {
        "type": "thinking", "thinking": "", "signature": ""}}),
    ("ping", {}),
    ("content_block_delta", {"index": 0, "delta": {"type": "thinking_delta", "thinking": "Let "}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "thinking_delta", "thinking": "me."}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "signature_delta", "signature": "Eq"}}),
    ("content_block_stop", {"index": 0}),
    ("content_block_start", {"index": 1, "content_block": {"type": "text", "text": ""}}),
    ("content_block_delta", {"index": 1, "delta": {"type": "text_delta", "text": "Okay"}}),
    ("content_block_delta", {"index": 1, "delta": {"type": "text_delta", "text": ", look:"}}),
    ("content_block_stop", {"index": 1}),
    ("content_block_start", {"index": 2, "content_block": {
        "type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {}}}),
    ("content_block_delta", {"index": 2, "delta": {
        "type": "input_json_delta", "partial_json": ""}}),
    ("content_block_delta", {"index": 2, "delta": {
        "type": "input_json_delta", "partial_json": '{"city":'}}),
    ("content_block_delta", {"index": 2, "delta": {
        "type": "input_json_delta", "partial_json": ' "San Francisco, CA"}'}}),
    ("content_block_stop", {"index": 2}),
    ("message_delta", {"delta": {"stop_reason": "tool_use", "stop_sequence": None},
                       "usage": {"output_tokens": 89}}),
    ("message_stop", {}),
)  # fmt: skip
"""Events of a stream, as Anthropic's documentation shows them."""


@ASKING
async def test_a_stream_as_it_is_documented_is_replayed_to_the_same_object(
    client: anthropic.AsyncAnthropic, setup: Setup, second: Any
) -> None:
    async def record(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, STREAM_TYPE)
        for name, fields in RECORDED:
            data = json.dumps({"type": name, **fields})
            await exchange.write(f"event: {name}\ndata: {data}\n\n".encode())
        await exchange.end()

    setup.upstream.handler = record
    miss, told = await streamed(client, QUESTION, tools=[TOOL])
    hit, again = await second(client, QUESTION, tools=[TOOL])
    assert (miss, hit) == ("MISS", "HIT")
    assert essence(told) == essence(again)
    assert (again.usage.input_tokens, again.usage.output_tokens) == (472, 89)
    assert again.usage.cache_read_input_tokens == 64
    assert again.content[2].to_dict()["input"] == {"city": "San Francisco, CA"}


async def test_marks_for_the_upstreams_own_cache_take_no_part(
    client: anthropic.AsyncAnthropic,
) -> None:
    mark: Any = {"cache_control": {"type": "ephemeral"}}
    system: Any = [{"type": "text", "text": "Be short."}]
    marked = [{**system[0], **mark}]
    block = {"type": "text", "text": "valkey what"}
    assert (await whole(client, QUESTION, system=system))[0] == "MISS"
    question: Any = [{"role": "user", "content": [{**block, **mark}]}]
    assert (await whole(client, question, system=marked, **mark))[0] == "HIT"
    assert (await whole(client, QUESTION, system="Be long."))[0] == "MISS"


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "hosted-tool"),
        ({"extra_body": {"mcp_servers": [{"type": "url"}]}}, "hosted-tool"),
        ({"extra_body": {"temperature": 1.5}}, "temperature"),
    ],
)
async def test_what_looks_at_the_world_goes_past_the_cache(
    client: anthropic.AsyncAnthropic, fields: Any, detail: str
) -> None:
    for _ in range(2):
        raw = await client.messages.with_raw_response.create(messages=QUESTION, **MODEL, **fields)
        assert raw.headers["cache-status"] == f"reprise; fwd=bypass; detail={detail}"


@pytest.mark.parametrize("ask", [whole, streamed])
@pytest.mark.parametrize("reason", ["max_tokens", "refusal", "pause_turn"])
async def test_an_answer_that_did_not_end_by_itself_is_not_stored(
    client: anthropic.AsyncAnthropic, setup: Setup, ask: Any, reason: str
) -> None:
    setup.upstream.handler = Answering(stop_reason=reason)
    statuses = [await ask(client, QUESTION) for _ in range(2)]
    assert [status for status, _ in statuses] == ["MISS", "MISS"]
    assert statuses[0][1].stop_reason == reason


async def test_an_error_of_the_upstream_arrives_as_it_is(
    client: anthropic.AsyncAnthropic, setup: Setup
) -> None:
    async def overloaded(exchange: Exchange) -> None:
        await exchange.read()
        error = {"type": "overloaded_error", "message": "Overloaded"}
        await exchange.answer({"type": "error", "error": error, "request_id": "req_1"}, 529)

    setup.upstream.handler = overloaded
    for _ in range(2):
        with pytest.raises(anthropic.APIStatusError, match="Overloaded") as raised:
            await whole(client, QUESTION)
        assert raised.value.status_code == 529
    assert len(setup.upstream.exchanges) == 2


async def test_an_error_within_a_stream_arrives_and_nothing_is_stored(
    client: anthropic.AsyncAnthropic, setup: Setup
) -> None:
    async def broken(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, STREAM_TYPE)
        start = next(events_of(message(), "msg_1"))
        await exchange.write(f"event: message_start\ndata: {json.dumps(start)}\n\n".encode())
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        await exchange.write(f"event: error\ndata: {json.dumps(error)}\n\n".encode())
        await exchange.end()

    setup.upstream.handler = broken
    for _ in range(2):
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            await streamed(client, QUESTION)
    assert len(setup.upstream.exchanges) == 2


async def test_a_client_that_leaves_in_the_middle_of_a_stream_releases_the_upstream(
    client: anthropic.AsyncAnthropic, setup: Setup
) -> None:
    released = asyncio.Event()

    async def endless(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, STREAM_TYPE)
        start = next(events_of(message(), "msg_1"))
        await exchange.write(f"event: message_start\ndata: {json.dumps(start)}\n\n".encode())
        await exchange.disconnected()
        released.set()

    setup.upstream.handler = endless
    stream = await client.messages.create(messages=QUESTION, stream=True, **MODEL)
    assert (await anext(aiter(stream))).type == "message_start"
    await stream.close()
    await asyncio.wait_for(released.wait(), 5)
    assert "put" not in setup.store.calls


@pytest.mark.parametrize("follower", [whole, streamed])
async def test_requests_of_one_question_share_one_fetch_whatever_their_form(
    client: anthropic.AsyncAnthropic, setup: Setup, follower: Any
) -> None:
    opened = asyncio.Event()
    answering = setup.upstream.handler

    async def wait_for_both(exchange: Exchange) -> None:
        await opened.wait()
        await answering(exchange)

    setup.upstream.handler = wait_for_both
    first = asyncio.create_task(streamed(client, QUESTION))
    while not setup.upstream.exchanges:
        await asyncio.sleep(0)
    second = asyncio.create_task(follower(client, QUESTION))
    while not setup.metrics.registry.get_sample_value("reprise_collapsed_requests_total"):
        await asyncio.sleep(0)
    opened.set()
    (_, told), (_, again) = await first, await second
    assert essence(told) == essence(again)
    assert len(setup.upstream.exchanges) == 1


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"anthropic-version": "2023-06-01"}, {"anthropic-version": "2023-01-01"}, "MISS"),
        ({"anthropic-beta": "a"}, {"anthropic-beta": "b"}, "MISS"),
        ({"x-api-key": "a"}, {"x-api-key": "b"}, "MISS"),
        ({"x-stainless-helper": "a"}, {"x-stainless-helper": "b"}, "HIT"),
    ],
)
async def test_headers_that_change_the_answer_take_part(
    base_url: str, one: dict[str, str], other: dict[str, str], expected: str
) -> None:
    body = {"messages": QUESTION, **MODEL}
    async with httpx.AsyncClient(base_url=base_url) as client:
        await client.post("messages", json=body, headers=one)
        told = await client.post("messages", json=body, headers=other)
    assert told.headers["x-cache"] == expected


async def test_requests_are_counted_under_their_route() -> None:
    setup = Setup()
    setup.upstream.handler = Answering()
    async with setup.run() as url, client_at(url) as client:
        for question in (QUESTION, PARAPHRASE):
            await whole(client, question)
    assert setup.metrics.requests.labels("messages", "HIT", "semantic")._value.get() == 1


async def test_users_are_told_apart_by_the_metadata() -> None:
    setup = Setup(isolation="user")
    setup.upstream.handler = Answering()
    async with setup.run() as url, client_at(url) as client:
        statuses = [
            (await whole(client, QUESTION, metadata={"user_id": user}))[0] for user in "aba"
        ]
    assert statuses == ["MISS", "MISS", "HIT"]


async def test_a_replay_has_a_request_id_of_its_own(client: anthropic.AsyncAnthropic) -> None:
    await whole(client, QUESTION)
    ids = {(await client.messages.create(messages=QUESTION, **MODEL))._request_id for _ in "ab"}
    assert len(ids) == 2
    assert all(name and name.startswith("req_") for name in ids)


async def test_tokens_are_counted_by_the_upstream(
    client: anthropic.AsyncAnthropic, setup: Setup
) -> None:
    async def count(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.answer({"input_tokens": 7})

    setup.upstream.handler = count
    told = await client.messages.count_tokens(model="m", messages=QUESTION)
    assert told.input_tokens == 7
    assert setup.upstream.exchanges[0].path == b"/v1/messages/count_tokens"


async def test_errors_of_our_own_are_in_anthropics_shape(
    client: anthropic.AsyncAnthropic, base_url: str
) -> None:
    only: Any = {"Cache-Control": "only-if-cached"}
    with pytest.raises(anthropic.APIStatusError, match="No stored answer") as raised:
        await client.messages.create(messages=QUESTION, extra_headers=only, **MODEL)
    body: Any = raised.value.body
    assert (raised.value.status_code, body["type"]) == (504, "error")
    assert raised.value.response.headers["x-should-retry"] == "false"
    async with httpx.AsyncClient(base_url=base_url) as plain:
        told = await plain.post("messages", json={}, headers=only)
    assert set(told.json()) == {"type", "error", "request_id"}
    assert set(told.json()["error"]) == {"type", "message"}
    assert told.headers["request-id"] == told.json()["request_id"]


@pytest.mark.parametrize(
    ("path", "headers", "is_anthropics"),
    [
        ("messages", {}, True),
        ("messages/batches", {}, True),
        ("models", {"anthropic-version": "2023-06-01"}, True),
        ("models", {}, False),
        ("chat/completions", {}, False),
    ],
)
async def test_each_api_is_refused_in_its_own_shape(
    path: str, headers: dict[str, str], is_anthropics: bool
) -> None:
    setup = Setup(api_keys="key-1")
    async with setup.run() as url, httpx.AsyncClient(base_url=url) as client:
        told = await client.post(path, json={}, headers=headers)
    assert told.status_code == 401
    expected = "authentication_error" if is_anthropics else "invalid_request_error"
    assert told.json()["error"]["type"] == expected
    assert ("request_id" in told.json()) is is_anthropics


async def test_the_simulated_upstream_answers_in_either_form() -> None:
    setup = Setup()
    async with setup.run_before("simulated://") as url, client_at(url) as client:
        miss, told = await whole(client, QUESTION)
        assert (miss, told.content[0].to_dict()["text"]) == (
            "MISS",
            "This is a simulated answer to: valkey what",
        )
        assert (await streamed(client, PARAPHRASE))[0] == "HIT"
        other: Any = [{"role": "user", "content": "pasta how"}]
        assert (await streamed(client, other))[0] == "MISS"
        assert (await client.messages.count_tokens(model="m", messages=other)).input_tokens == 2
        with pytest.raises(anthropic.BadRequestError, match="does not understand"):
            await whole(client, [])


async def test_an_upstream_that_does_not_stream_serves_those_who_want_streams(
    client: anthropic.AsyncAnthropic, setup: Setup
) -> None:
    async def never_streams(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.answer(message(SAID))

    setup.upstream.handler = never_streams
    await client.messages.with_raw_response.create(messages=QUESTION, stream=True, **MODEL)
    hit, told = await streamed(client, QUESTION)
    assert (hit, told.content[0].to_dict()) == ("HIT", SAID)


async def test_an_upstream_that_always_streams_serves_those_who_want_none(
    client: anthropic.AsyncAnthropic, setup: Setup
) -> None:
    async def always_streams(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, STREAM_TYPE)
        for event in events_of(message(SAID), "msg_1"):
            told = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
            await exchange.write(told.encode())
        await exchange.end()

    setup.upstream.handler = always_streams
    await client.messages.with_raw_response.create(messages=QUESTION, **MODEL)
    hit, told = await whole(client, QUESTION)
    assert (hit, told.content[0].to_dict()) == ("HIT", SAID)


class Colour(BaseModel):
    """The type of the answer that the test below asks for."""

    name: str


async def test_structured_output_is_parsed_from_a_hit(
    client: anthropic.AsyncAnthropic, setup: Setup
) -> None:
    setup.upstream.handler = Answering({"type": "text", "text": '{"name": "red"}'})
    for _ in range(2):
        told = await client.messages.parse(messages=QUESTION, output_format=Colour, **MODEL)
        assert told.parsed_output == Colour(name="red")
    assert len(setup.upstream.exchanges) == 1
    setup.upstream.handler = Answering({"type": "text", "text": '{"name": '})
    for _ in range(2):
        with pytest.raises(ValidationError):
            await client.messages.parse(
                messages=[*QUESTION, *PARAPHRASE], output_format=Colour, **MODEL
            )
    assert len(setup.upstream.exchanges) == 3


@pytest.mark.parametrize("second", [False, True])
async def test_features_in_beta_are_asked_for_and_cached(
    client: anthropic.AsyncAnthropic, setup: Setup, second: bool
) -> None:
    edits: dict[str, Any] = {"applied_edits": []}
    setup.upstream.handler = Answering(context_management=edits)
    asked: Any = {"messages": QUESTION, "betas": ["context-management-2025-06-27"], **MODEL}
    first = await client.beta.messages.create(**asked)
    if second:
        async with client.beta.messages.stream(**asked) as stream:
            again: Any = await stream.get_final_message()
    else:
        again = await client.beta.messages.create(**asked)
    assert again.context_management.to_dict() == edits
    assert again.model_dump(exclude={"id"}) == first.model_dump(exclude={"id"})
    (exchange,) = setup.upstream.exchanges
    assert exchange.header(b"anthropic-beta") == [b"context-management-2025-06-27"]
    assert (await whole(client, QUESTION))[0] == "MISS"


async def test_operators_see_explain_and_carry_messages() -> None:
    setup = Setup(admin_token="token-1")  # noqa: S106
    setup.upstream.handler = Answering(THOUGHTS, SAID)
    other = Setup(admin_token="token-1")  # noqa: S106
    headers = {"Authorization": "Bearer token-1"}
    async with setup.run() as url, other.run() as second:
        async with client_at(url) as client:
            _, told = await whole(client, QUESTION)
        root = httpx.URL(url.removesuffix("/v1"))
        async with httpx.AsyncClient(base_url=root, headers=headers) as admin:
            (entry,) = (await admin.get("/cache/entries")).json()["entries"]
            assert entry["dialect"] == "message"
            exported = (await admin.get("/cache/export")).content
            asked = {"request": {"messages": PARAPHRASE, **MODEL}, "route": "/v1/messages"}
            names = ("authorization", "anthropic-version")
            (exchange,) = setup.upstream.exchanges
            caller = {name: exchange.header(name.encode())[0].decode() for name in names}
            why = (await admin.post("/cache/explain", json={**asked, "headers": caller})).json()
        assert (why["outcome"], why["tier"]) == ("HIT", "semantic")
        root = httpx.URL(second.removesuffix("/v1"))
        async with httpx.AsyncClient(base_url=root, headers=headers) as admin:
            assert (await admin.post("/cache/import", content=exported)).json()["imported"] == 1
        assert (await other.store.count()).by_dialect == {"message": 1}
    assert told.content[0].to_dict() == THOUGHTS
