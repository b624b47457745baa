"""The client `langchain-openai`, with the agent of `langchain`."""

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel
from stage import API_KEY, BASE_URL, EMBEDDING_MODEL, MODEL, get_weather, run

chat = ChatOpenAI(model=MODEL, base_url=BASE_URL, api_key=API_KEY)
# Counting tokens would fetch a vocabulary.
embedder = OpenAIEmbeddings(
    model=EMBEDDING_MODEL, base_url=BASE_URL, api_key=API_KEY, check_embedding_ctx_length=False
)


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    degrees: int


def stream(question: str) -> dict:
    pieces = [chunk.content for chunk in chat.stream(question) if chunk.content]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def tools(question: str) -> str:
    agent = create_agent(chat, [tool(get_weather)])
    return agent.invoke({"messages": [("user", question)]})["messages"][-1].content


def cancel(question: str) -> str:
    chunks = chat.stream(question)
    for chunk in chunks:
        if chunk.content:
            chunks.close()
            return chunk.content
    return ""


run(
    chat=lambda question: chat.invoke(question).content,
    stream=stream,
    tools=tools,
    structured=lambda question: chat.with_structured_output(Weather).invoke(question).model_dump(),
    embeddings=embedder.embed_query,
    errors=lambda question: chat.invoke(question).content,
    cancel=cancel,
)
