"""The client `semantic-kernel`."""

import json

from openai import AsyncOpenAI
from pydantic import BaseModel
from semantic_kernel import Kernel
from semantic_kernel.connectors.ai import FunctionChoiceBehavior
from semantic_kernel.connectors.ai.open_ai import (
    OpenAIChatCompletion,
    OpenAIChatPromptExecutionSettings,
    OpenAITextEmbedding,
)
from semantic_kernel.contents import ChatHistory
from semantic_kernel.functions import kernel_function
from stage import API_KEY, BASE_URL, EMBEDDING_MODEL, MODEL, get_weather, run

client = AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY)
service = OpenAIChatCompletion(ai_model_id=MODEL, async_client=client)
embedder = OpenAITextEmbedding(ai_model_id=EMBEDDING_MODEL, async_client=client)


class Weather(BaseModel):
    city: str
    degrees: int


class Plugin:
    @kernel_function(description="Tell the weather in a city.")
    def get_weather(self, city: str) -> str:
        return get_weather(city)


def history(question: str) -> ChatHistory:
    told = ChatHistory()
    told.add_user_message(question)
    return told


async def ask(question: str, **fields) -> str:
    settings = OpenAIChatPromptExecutionSettings(**fields)
    kernel = Kernel()
    kernel.add_plugin(Plugin(), "lab")
    told = await service.get_chat_message_content(history(question), settings, kernel=kernel)
    return str(told)


async def stream(question: str) -> dict:
    settings = OpenAIChatPromptExecutionSettings()
    chunks = service.get_streaming_chat_message_content(history(question), settings)
    pieces = [str(chunk) async for chunk in chunks]
    pieces = [piece for piece in pieces if piece]
    return {"text": "".join(pieces), "pieces": len(pieces)}


async def tools(question: str) -> str:
    return await ask(question, function_choice_behavior=FunctionChoiceBehavior.Auto())


async def structured(question: str) -> dict:
    return json.loads(await ask(question, response_format=Weather))


async def embeddings(text: str) -> list[float]:
    return (await embedder.generate_embeddings([text]))[0].tolist()


async def cancel(question: str) -> str:
    settings = OpenAIChatPromptExecutionSettings()
    chunks = service.get_streaming_chat_message_content(history(question), settings)
    async for chunk in chunks:
        if str(chunk):
            await chunks.aclose()
            return str(chunk)
    return ""


run(
    chat=ask,
    stream=stream,
    tools=tools,
    structured=structured,
    embeddings=embeddings,
    errors=ask,
    cancel=cancel,
)
