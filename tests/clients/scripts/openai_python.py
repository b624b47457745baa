"""The client `openai`."""

import json

from openai import OpenAI
from pydantic import BaseModel
from stage import API_KEY, BASE_URL, EMBEDDING_MODEL, MODEL, get_weather, run

client = OpenAI(base_url=BASE_URL, api_key=API_KEY)


class Weather(BaseModel):
    city: str
    degrees: int


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def asked(question: str) -> dict:
    return {"model": MODEL, "messages": [{"role": "user", "content": question}]}


def chat(question: str) -> str | None:
    return client.chat.completions.create(**asked(question)).choices[0].message.content


def stream(question: str) -> dict:
    chunks = client.chat.completions.create(**asked(question), stream=True)
    pieces = [
        c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content
    ]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def tools(question: str) -> str | None:
    request = asked(question)
    message = client.chat.completions.create(**request, tools=[TOOL]).choices[0].message
    (call,) = message.tool_calls
    result = get_weather(**json.loads(call.function.arguments))
    told = {"role": "tool", "tool_call_id": call.id, "content": result}
    request["messages"] += [message.model_dump(exclude_none=True), told]
    return client.chat.completions.create(**request, tools=[TOOL]).choices[0].message.content


def structured(question: str) -> dict:
    parsed = client.chat.completions.parse(**asked(question), response_format=Weather)
    return parsed.choices[0].message.parsed.model_dump()


def embeddings(question: str) -> list[float]:
    return client.embeddings.create(model=EMBEDDING_MODEL, input=question).data[0].embedding


def cancel(question: str) -> str:
    with client.chat.completions.create(**asked(question), stream=True) as chunks:
        for chunk in chunks:
            if chunk.choices[0].delta.content:
                return chunk.choices[0].delta.content
    return ""


run(
    chat=chat,
    stream=stream,
    tools=tools,
    structured=structured,
    embeddings=embeddings,
    errors=chat,
    cancel=cancel,
)
