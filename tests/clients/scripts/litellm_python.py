"""The client `litellm`."""

import json

import litellm
from pydantic import BaseModel
from stage import API_KEY, BASE_URL, EMBEDDING_MODEL, MODEL, get_weather, run

HERE = {"api_base": BASE_URL, "api_key": API_KEY}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


class Weather(BaseModel):
    city: str
    degrees: int


def ask(messages: list, **fields):
    return litellm.completion(model=f"openai/{MODEL}", messages=messages, **HERE, **fields)


def asked(question: str) -> list:
    return [{"role": "user", "content": question}]


def chat(question: str) -> str:
    return ask(asked(question)).choices[0].message.content


def stream(question: str) -> dict:
    chunks = ask(asked(question), stream=True)
    pieces = [c.choices[0].delta.content for c in chunks if c.choices[0].delta.content]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def tools(question: str) -> str:
    messages = asked(question)
    message = ask(messages, tools=[TOOL]).choices[0].message
    (call,) = message.tool_calls
    result = get_weather(**json.loads(call.function.arguments))
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": result}]
    return ask(messages, tools=[TOOL]).choices[0].message.content


def structured(question: str) -> dict:
    content = ask(asked(question), response_format=Weather).choices[0].message.content
    return Weather.model_validate_json(content).model_dump()


def embeddings(text: str) -> list[float]:
    return litellm.embedding(model=f"openai/{EMBEDDING_MODEL}", input=[text], **HERE).data[0][
        "embedding"
    ]


async def cancel(question: str) -> str:
    chunks = await litellm.acompletion(
        model=f"openai/{MODEL}", messages=asked(question), stream=True, **HERE
    )
    async for chunk in chunks:
        if content := chunk.choices[0].delta.content:
            await chunks.aclose()
            return content
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
