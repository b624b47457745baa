"""The client `openai`, by the Responses API; answers are returned with their ids."""

import json

from openai import OpenAI
from openai.types.responses import Response
from pydantic import BaseModel
from stage import API_KEY, BASE_URL, MODEL, get_weather, run

client = OpenAI(base_url=BASE_URL, api_key=API_KEY)


class Weather(BaseModel):
    city: str
    degrees: int


TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Tell the weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


def ask(question: str | list, **fields) -> Response:
    return client.responses.create(model=MODEL, input=question, **fields)


def chat(question: str) -> dict:
    response = ask(question)
    return {"id": response.id, "text": response.output_text}


def unstored(question: str) -> str:
    return ask(question, store=False).output_text


def stream(question: str) -> dict:
    with client.responses.stream(model=MODEL, input=question) as events:
        pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
        assert "".join(pieces) == events.get_final_response().output_text
    return {"text": "".join(pieces), "pieces": len(pieces)}


def tools(question: str) -> str:
    response = ask(question, tools=[TOOL])
    (call,) = response.output
    result = get_weather(**json.loads(call.arguments))
    told = {"type": "function_call_output", "call_id": call.call_id, "output": result}
    # The upstream has the conversation so far, under the id of its last answer.
    return ask([told], tools=[TOOL], previous_response_id=response.id).output_text


def structured(question: str) -> dict:
    parsed = client.responses.parse(model=MODEL, input=question, text_format=Weather)
    return parsed.output_parsed.model_dump()


def cancel(question: str) -> str:
    with client.responses.create(model=MODEL, input=question, stream=True) as events:
        for event in events:
            if event.type == "response.output_text.delta":
                return event.delta
    return ""


run(
    chat=chat,
    unstored=unstored,
    stream=stream,
    tools=tools,
    structured=structured,
    errors=chat,
    cancel=cancel,
)
