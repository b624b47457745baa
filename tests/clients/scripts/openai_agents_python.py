"""The client `openai-agents`, with its model for Responses (the default) and the other model."""

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    Runner,
    function_tool,
    set_default_openai_client,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel
from stage import API_KEY, BASE_URL, MODEL, SPEAKS_RESPONSES, get_weather, run

set_tracing_disabled(True)
client = AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY)
set_default_openai_client(client)
by_chat = OpenAIChatCompletionsModel(model=MODEL, openai_client=client)
model = MODEL if SPEAKS_RESPONSES else by_chat


class Weather(BaseModel):
    city: str
    degrees: int


def agent(name: str = "Assistant", **fields) -> Agent:
    return Agent(name=name, instructions="Be brief.", model=model, **fields)


async def chat(question: str) -> str:
    return (await Runner.run(agent(), question)).final_output


async def unstored(question: str) -> str:
    settings = ModelSettings(store=False)
    return (await Runner.run(agent(model_settings=settings), question)).final_output


async def stream(question: str) -> dict:
    result = Runner.run_streamed(agent(), question)
    events = [e.data async for e in result.stream_events() if e.type == "raw_response_event"]
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    return {"text": "".join(pieces), "pieces": len(pieces)}


async def tools(question: str) -> str:
    guide = agent("Guide", tools=[function_tool(get_weather)])
    if not SPEAKS_RESPONSES:
        return (await Runner.run(guide, question)).final_output
    # A first agent hands the question to a second, who has the tool.
    result = await Runner.run(agent(handoffs=[guide]), question)
    assert result.last_agent is guide
    return result.final_output


async def structured(question: str) -> dict:
    return (await Runner.run(agent(output_type=Weather), question)).final_output.model_dump()


async def cancel(question: str) -> str:
    result = Runner.run_streamed(agent(), question)
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            result.cancel()
            return event.data.delta
    return ""


run(
    chat=chat,
    unstored=unstored,
    stream=stream,
    tools=tools,
    structured=structured,
    errors=chat,
    cancel=cancel,
)
