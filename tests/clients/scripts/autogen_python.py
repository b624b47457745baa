"""The client `autogen-ext`, with the agent of `autogen-agentchat`."""

import asyncio
import json

from autogen_agentchat.agents import AssistantAgent
from autogen_core import CancellationToken
from autogen_core.models import UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient
from pydantic import BaseModel
from stage import API_KEY, BASE_URL, MODEL, get_weather, run

client = OpenAIChatCompletionClient(model=MODEL, base_url=BASE_URL, api_key=API_KEY)


class Weather(BaseModel):
    city: str
    degrees: int


def asked(question: str) -> list[UserMessage]:
    return [UserMessage(content=question, source="user")]


async def chat(question: str) -> str:
    return (await client.create(asked(question))).content


async def stream(question: str) -> dict:
    pieces = [piece async for piece in client.create_stream(asked(question))]
    pieces = [piece for piece in pieces if isinstance(piece, str)]
    return {"text": "".join(pieces), "pieces": len(pieces)}


async def tools(question: str) -> str:
    agent = AssistantAgent("assistant", client, tools=[get_weather], reflect_on_tool_use=True)
    return (await agent.run(task=question)).messages[-1].content


async def structured(question: str) -> dict:
    return json.loads((await client.create(asked(question), json_output=Weather)).content)


async def cancel(question: str) -> str:
    token = CancellationToken()
    heard = []
    try:
        async for piece in client.create_stream(asked(question), cancellation_token=token):
            heard.append(piece)
            # It notices a cancellation only while it waits for the next piece.
            asyncio.get_running_loop().call_soon(token.cancel)
    except asyncio.CancelledError:
        pass
    return heard[0]


run(chat=chat, stream=stream, tools=tools, structured=structured, errors=chat, cancel=cancel)
