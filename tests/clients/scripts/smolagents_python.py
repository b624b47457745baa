"""The client `smolagents`."""

import gc
import json

from smolagents import ChatMessage, OpenAIModel, ToolCallingAgent, tool
from stage import API_KEY, BASE_URL, MODEL, get_weather, run

model = OpenAIModel(MODEL, api_base=BASE_URL, api_key=API_KEY)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
}


def asked(question: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=[{"type": "text", "text": question}])]


def chat(question: str) -> str:
    return model.generate(asked(question)).content


def stream(question: str) -> dict:
    pieces = [d.content for d in model.generate_stream(asked(question)) if d.content]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def tools(question: str) -> str:
    return str(
        ToolCallingAgent(tools=[tool(get_weather)], model=model, verbosity_level=0).run(question)
    )


def structured(question: str) -> dict:
    form = {"type": "json_schema", "json_schema": {"name": "weather", "schema": SCHEMA}}
    return json.loads(model.generate(asked(question), response_format=form).content)


def cancel(question: str) -> str:
    deltas = model.generate_stream(asked(question))
    for delta in deltas:
        if delta.content:
            deltas.close()
            gc.collect()  # it holds the connection in a circle of references
            return delta.content
    return ""


run(chat=chat, stream=stream, tools=tools, structured=structured, errors=chat, cancel=cancel)
