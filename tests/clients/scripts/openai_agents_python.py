"""The client `openai-agents`, by chat completions: by itself it speaks the Responses API."""

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel
from stage import API_KEY, BASE_URL, MODEL, get_weather, run

set_tracing_disabled(True)
client = AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY)
model = OpenAIChatCompletionsModel(model=MODEL, openai_client=client)


class Weather(BaseModel):
    city: str
    degrees: int


def agent(**fields) -> Agent:
    return Agent(name="Assistant", instructions="Be brief.", model=model, **fields)


async def chat(question: str) -> str:
    return (await Runner.run(agent(), question)).final_output


async def stream(question: str) -> dict:
    result = Runner.run_streamed(agent(), question)
    events = [e.data async for e in result.stream_events() if e.type == "raw_response_event"]
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    return {"text": "".join(pieces), "pieces": len(pieces)}


async def tools(question: str) -> str:
    return (await Runner.run(agent(tools=[function_tool(get_weather)]), question)).final_output


async def structured(question: str) -> dict:
    return (await Runner.run(agent(output_type=Weather), question)).final_output.model_dump()


async def cancel(question: str) -> str:
    result = Runner.run_streamed(agent(), question)
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            result.cancel()
            return event.data.delta
    return ""


run(chat=chat, stream=stream, tools=tools, structured=structured, errors=chat, cancel=cancel)
