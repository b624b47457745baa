"""The client `haystack-ai`."""

import gc
import json
from contextlib import suppress

from haystack.components.agents import Agent
from haystack.components.embedders import OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import create_tool_from_function
from haystack.utils import Secret
from pydantic import BaseModel
from stage import API_KEY, BASE_URL, EMBEDDING_MODEL, MODEL, get_weather, run

HERE = {"api_key": Secret.from_token(API_KEY), "api_base_url": BASE_URL}


class Weather(BaseModel):
    city: str
    degrees: int


class Left(Exception):
    """Raised to stop a stream early."""


def generator(**fields) -> OpenAIChatGenerator:
    return OpenAIChatGenerator(model=MODEL, **HERE, **fields)


def asked(question: str) -> list[ChatMessage]:
    return [ChatMessage.from_user(question)]


def chat(question: str) -> str:
    return generator().run(asked(question))["replies"][0].text


def stream(question: str) -> dict:
    pieces = []
    generator(streaming_callback=lambda chunk: pieces.append(chunk.content)).run(asked(question))
    pieces = [piece for piece in pieces if piece]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def tools(question: str) -> str:
    agent = Agent(chat_generator=generator(), tools=[create_tool_from_function(get_weather)])
    return agent.run(messages=asked(question))["messages"][-1].text


def structured(question: str) -> dict:
    form = {"response_format": Weather}
    return json.loads(generator(generation_kwargs=form).run(asked(question))["replies"][0].text)


def embeddings(text: str) -> list[float]:
    return OpenAITextEmbedder(model=EMBEDDING_MODEL, **HERE).run(text)["embedding"]


def cancel(question: str) -> str:
    heard = []

    def hear(chunk) -> None:
        if chunk.content:
            heard.append(chunk.content)
            raise Left

    with suppress(Left):
        generator(streaming_callback=hear).run(asked(question))
    gc.collect()  # it closes its connection only when collected
    return heard[0]


run(
    chat=chat,
    stream=stream,
    tools=tools,
    structured=structured,
    embeddings=embeddings,
    errors=chat,
    cancel=cancel,
)
