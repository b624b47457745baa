"""LangChain and Pydantic AI read a replay as they read the original answer."""

from dataclasses import asdict
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, ThinkingPart, ToolCallPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition

from tests.behaviour.test_sdk import chunk, delta
from tests.fakes import completion
from tests.servers import Exchange, Setup

QUESTION = "what is the weather in paris and in rome"
THOUGHT = "Two cities."
TEXT = "I shall look."
CITIES = {"call_1": "Paris", "call_2": "Rome"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
USAGE = {
    "prompt_tokens": 21,
    "completion_tokens": 13,
    "total_tokens": 34,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 5},
}


def called(call_id: str, arguments: str) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


WHOLE = [called(call_id, f'{{"city":"{city}"}}') for call_id, city in CITIES.items()]
CHUNKS = [
    chunk(delta(role="assistant", content=None, reasoning_content="")),
    *(chunk(delta(content=None, reasoning_content=word)) for word in ("Two ", "cities.")),
    *(chunk(delta(content=word)) for word in ("I ", "shall ", "look.")),
    *(
        chunk(delta(tool_calls=[told]))
        for index, (call_id, city) in enumerate(CITIES.items())
        for told in (
            {"index": index, **called(call_id, "")},
            {"index": index, "function": {"arguments": '{"city"'}},
            {"index": index, "function": {"arguments": f':"{city}"}}'}},
        )
    ),
    chunk(delta(finish="tool_calls")),
]


async def answer(exchange: Exchange) -> None:
    """Answer with a thought, a text, two tool calls, and usage if the request asks for it."""
    await exchange.read()
    asked = exchange.document
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["get_weather"]
    if not asked.get("stream"):
        whole = completion(TEXT, reasoning_content=THOUGHT, tool_calls=WHOLE)
        await exchange.answer({**whole, "usage": USAGE})
        return
    usage = [chunk(usage=USAGE)] if asked["stream_options"]["include_usage"] else []
    await exchange.stream(*CHUNKS, *usage)


@pytest.fixture(autouse=True)
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn off LangChain's tracing, which the environment may have turned on."""
    for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "false")


@pytest.fixture
def setup() -> Setup:
    setup = Setup()
    setup.upstream.handler = answer
    return setup


async def with_langchain(base_url: str, stream: bool) -> AIMessage:
    tool = {"name": "get_weather", "description": "Tell the weather.", "parameters": SCHEMA}
    async with openai.DefaultAsyncHttpxClient() as http:
        chat = ChatOpenAI(
            base_url=base_url,
            api_key=SecretStr("sk-1"),
            model="m",
            max_retries=0,
            stream_usage=True,
            http_async_client=http,
        ).bind_tools([tool])
        if not stream:
            return await chat.ainvoke(QUESTION)
        first, *others = [told async for told in chat.astream(QUESTION)]
        return sum(others, first)


async def with_pydantic_ai(base_url: str, stream: bool) -> ModelResponse:
    provider = OpenAIProvider(base_url=base_url, api_key="sk-1")
    model = OpenAIChatModel("m", provider=provider)
    messages = [ModelRequest.user_text_prompt(QUESTION)]
    tool = ToolDefinition(name="get_weather", parameters_json_schema=SCHEMA)
    asked = ModelRequestParameters(function_tools=[tool])
    async with provider.client:
        if not stream:
            return await model_request(model, messages, model_request_parameters=asked)
        async with model_request_stream(model, messages, model_request_parameters=asked) as told:
            async for _ in told:
                pass
            return told.get()


@pytest.mark.parametrize("stream", [False, True])
async def test_langchain_reads_a_replay_like_the_original(
    base_url: str, setup: Setup, stream: bool
) -> None:
    messages = [await with_langchain(base_url, stream) for _ in range(2)]
    original, replayed = (message.model_dump(exclude={"id"}) for message in messages)
    ids = [told["response_metadata"].pop("id", None) for told in (original, replayed)]
    assert replayed == original
    assert stream or ids[0] != ids[1]  # when it reads a stream it drops the id
    told = messages[1]
    assert told.content == TEXT
    assert {call["id"]: call["args"] for call in told.tool_calls} == {
        call_id: {"city": city} for call_id, city in CITIES.items()
    }
    assert told.response_metadata["finish_reason"] == "tool_calls"
    assert told.usage_metadata is not None
    assert told.usage_metadata["total_tokens"] == 34
    assert len(setup.upstream.exchanges) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_pydantic_ai_reads_a_replay_like_the_original(
    base_url: str, setup: Setup, stream: bool
) -> None:
    responses = [await with_pydantic_ai(base_url, stream) for _ in range(2)]
    original, replayed = map(asdict, responses)
    for told in (original, replayed):
        del told["timestamp"], told["provider_details"]["timestamp"]
    assert original.pop("provider_response_id") != replayed.pop("provider_response_id")
    assert replayed == original
    thought, text, *calls = responses[1].parts
    assert isinstance(thought, ThinkingPart)
    assert isinstance(text, TextPart)
    assert (thought.content, text.content) == (THOUGHT, TEXT)
    assert {
        call.tool_call_id: call.args_as_dict() for call in calls if isinstance(call, ToolCallPart)
    } == {call_id: {"city": city} for call_id, city in CITIES.items()}
    assert responses[1].finish_reason == "tool_call"
    assert responses[1].usage.total_tokens == 34
    assert len(setup.upstream.exchanges) == 1


async def test_a_streamed_replay_of_a_whole_answer_is_told_in_its_order(
    base_url: str, setup: Setup
) -> None:
    """The order is thought, text, calls, whichever form was requested first."""
    whole = await with_pydantic_ai(base_url, stream=False)
    streamed = await with_pydantic_ai(base_url, stream=True)
    assert streamed.parts == whole.parts
    assert streamed.usage == whole.usage
    assert len(setup.upstream.exchanges) == 1
