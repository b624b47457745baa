"""The client `llama-index`."""

import gc

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel
from stage import API_KEY, BASE_URL, EMBEDDING_MODEL, MODEL, get_weather, run

llm = OpenAILike(
    model=MODEL,
    api_base=BASE_URL,
    api_key=API_KEY,
    is_chat_model=True,
    is_function_calling_model=True,
    should_use_structured_outputs=True,
    max_retries=1,
)
embedder = OpenAIEmbedding(model_name=EMBEDDING_MODEL, api_base=BASE_URL, api_key=API_KEY)


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    degrees: int


def asked(question: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=question)]


def chat(question: str) -> str:
    return llm.chat(asked(question)).message.content


def stream(question: str) -> dict:
    pieces = [chunk.delta for chunk in llm.stream_chat(asked(question)) if chunk.delta]
    return {"text": "".join(pieces), "pieces": len(pieces)}


async def tools(question: str) -> str:
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(get_weather)], llm=llm, streaming=False)
    return str(await agent.run(question))


def cancel(question: str) -> str:
    chunks = llm.stream_chat(asked(question))
    for chunk in chunks:
        if chunk.delta:
            chunks.close()
            gc.collect()  # it closes its connection only when collected
            return chunk.delta
    return ""


run(
    chat=chat,
    stream=stream,
    tools=tools,
    structured=lambda text: llm.as_structured_llm(Weather).chat(asked(text)).raw.model_dump(),
    embeddings=embedder.get_text_embedding,
    errors=chat,
    cancel=cancel,
)
