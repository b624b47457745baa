"""The official SDK reads a replay as it reads the upstream's own answer in the same form.

Each test tries a hundred answers; with `--hypothesis-profile=thorough`, it tries thousands.
"""

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from app.core.cache_status import CacheStatus
from app.dialects.chat_completions.request import ChatRequest
from app.dialects.chunked import Form
from app.dialects.dialect import Answer
from tests.rich_answers import FORMS, PLAIN, WHOLE, WITH_USAGE, RichAnswer, rich_answers

STATUS = CacheStatus.miss("digest")
MAY_NOT_BE_STORED = {"refusal", "finish-reason", "empty", "invalid-json"}
SIZES = st.integers(5, 99)


@pytest.fixture(scope="module")
def client() -> openai.OpenAI:
    return openai.OpenAI(api_key="sk-1", base_url="http://upstream.test/v1")


def request(form: Form, answer: RichAnswer) -> ChatRequest:
    messages = [{"role": "user", "content": "Hello"}]
    body: dict[str, Any] = {"model": "m", "messages": messages, "n": answer.choices}
    if form.stream:
        body |= {"stream": True, "stream_options": {"include_usage": form.include_usage}}
    return ChatRequest.parse(json.dumps(body).encode())


def pieces(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


def fetch(form: Form, answer: RichAnswer, size: int) -> Answer:
    reader = request(form, answer).reader(is_stream=form.stream)
    for piece in pieces(answer.bodies[form], size):
        reader.feed(piece)
    reader.end()
    return reader.read()


def accumulated(client: openai.OpenAI, form: Form, body: bytes) -> dict[str, Any]:
    completion: ChatCompletion
    if form.stream:
        asked = httpx2.Request("POST", client.base_url)
        response = httpx2.Response(200, content=body, request=asked)
        state = ChatCompletionStreamState[None]()
        for chunk in openai.Stream(cast_to=ChatCompletionChunk, response=response, client=client):
            state.handle_chunk(chunk)
        completion = state.current_completion_snapshot
    else:
        completion = ChatCompletion.construct(**json.loads(body))
    return completion.model_dump(exclude={"id", "created"}, exclude_none=True)


@pytest.mark.parametrize("fetched", FORMS, ids=str)
@given(answer=rich_answers(), size=SIZES)
def test_whoever_is_served_gets_what_the_upstream_would_have_given(
    client: openai.OpenAI, fetched: Form, answer: RichAnswer, size: int
) -> None:
    got = fetch(fetched, answer, size)
    event(f"unfit: {got.unfit}")
    assert got.unfit in {None, *MAY_NOT_BE_STORED}
    for asked in FORMS:
        if not got.may_be_shared or got.fullness < asked.entitled:
            assert got.unfit or fetched.entitled < asked.entitled  # else it has to serve
            continue
        replay = request(asked, answer).render(got.content, STATUS, nonce="0", now=1.0)
        theirs = accumulated(client, asked, answer.bodies[asked])
        assert accumulated(client, asked, replay.body) == theirs


@given(answer=rich_answers(), size=SIZES)
def test_whoever_follows_a_stream_with_usage_gets_one_without(
    client: openai.OpenAI, answer: RichAnswer, size: int
) -> None:
    narrowed = request(PLAIN, answer).narrowing(WITH_USAGE)
    assert narrowed is not None
    told = [narrowed.feed(piece) for piece in pieces(answer.bodies[WITH_USAGE], size)]
    body = b"".join([*told, narrowed.flush()])
    assert accumulated(client, PLAIN, body) == accumulated(client, PLAIN, answer.bodies[PLAIN])
    assert request(WHOLE, answer).narrowing(WITH_USAGE) is None
