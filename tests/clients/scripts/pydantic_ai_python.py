"""The client `pydantic-ai`, with its models `openai:` (the Responses API) and `openai-chat:`."""

import os

from pydantic import BaseModel
from pydantic_ai import Agent, Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.models.openai import OpenAIResponsesModelSettings
from pydantic_ai.providers.openai import OpenAIProvider
from stage import API_KEY, BASE_URL, EMBEDDING_MODEL, MODEL, SPEAKS_RESPONSES, get_weather, run

os.environ |= {"OPENAI_BASE_URL": BASE_URL, "OPENAI_API_KEY": API_KEY}
provider = OpenAIProvider(base_url=BASE_URL, api_key=API_KEY)
model = f"openai:{MODEL}" if SPEAKS_RESPONSES else f"openai-chat:{MODEL}"
embedder = Embedder(OpenAIEmbeddingModel(EMBEDDING_MODEL, provider=provider))


class Weather(BaseModel):
    city: str
    degrees: int


async def chat(question: str) -> str:
    return (await Agent(model).run(question)).output


async def unstored(question: str) -> str:
    settings = OpenAIResponsesModelSettings(openai_store=False)
    return (await Agent(model, model_settings=settings).run(question)).output


async def stream(question: str) -> dict:
    async with Agent(model).run_stream(question) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    return {"text": "".join(pieces), "pieces": len(pieces)}


async def tools(question: str) -> str:
    return (await Agent(model, tools=[get_weather]).run(question)).output


async def structured(question: str) -> dict:
    return (await Agent(model, output_type=Weather).run(question)).output.model_dump()


async def embeddings(text: str) -> list[float]:
    return list((await embedder.embed_query(text)).embeddings[0])


async def cancel(question: str) -> str:
    async with Agent(model).run_stream(question) as result:
        async for piece in result.stream_text(delta=True, debounce_by=None):
            await result.cancel()
            return piece
    return ""


run(
    chat=chat,
    unstored=unstored,
    stream=stream,
    tools=tools,
    structured=structured,
    embeddings=embeddings,
    errors=chat,
    cancel=cancel,
)
