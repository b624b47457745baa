"""The client `instructor`, which always returns objects, never text."""

import instructor
from openai import OpenAI
from pydantic import BaseModel
from stage import API_KEY, BASE_URL, MODEL, run

client = instructor.from_openai(OpenAI(base_url=BASE_URL, api_key=API_KEY))


class Weather(BaseModel):
    city: str
    degrees: int


def ask(question: str, **fields) -> Weather:
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(
        model=MODEL, response_model=Weather, messages=messages, max_retries=1, **fields
    )


def stream(question: str) -> dict:
    partial = client.chat.completions.create_partial(
        model=MODEL, response_model=Weather, messages=[{"role": "user", "content": question}]
    )
    pieces = list(partial)
    return {"text": pieces[-1].model_dump_json(), "pieces": len(pieces)}


run(
    stream=stream,
    structured=lambda question: ask(question).model_dump(),
    errors=lambda question: ask(question).model_dump(),
)
