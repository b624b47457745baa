"""The client `llm`, by its Python interface; its models are named in a file."""

import gc
import json
import os
from pathlib import Path

from stage import API_KEY, BASE_URL, MODEL, get_weather, run

home = Path.cwd() / "llm"
home.mkdir(exist_ok=True)
(home / "extra-openai-models.yaml").write_text(
    f"""
- model_id: lab
  model_name: {MODEL}
  api_base: {BASE_URL}
  supports_tools: true
  supports_schema: true
"""
)
os.environ["LLM_USER_PATH"] = str(home)

import llm  # noqa: E402 - reads the environment
from pydantic import BaseModel  # noqa: E402

model = llm.get_model("lab")
model.key = API_KEY


class Weather(BaseModel):
    city: str
    degrees: int


def chat(question: str) -> str:
    return model.prompt(question, stream=False).text()


def stream(question: str) -> dict:
    pieces = [piece for piece in model.prompt(question, stream=True) if piece]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def tools(question: str) -> str:
    return model.chain(question, tools=[get_weather], stream=False).text()


def structured(question: str) -> dict:
    return json.loads(model.prompt(question, schema=Weather, stream=False).text())


def cancel(question: str) -> str:
    pieces = iter(model.prompt(question, stream=True))
    for piece in pieces:
        if piece:
            pieces.close()
            gc.collect()  # it closes its connection only when collected
            return piece
    return ""


run(chat=chat, stream=stream, tools=tools, structured=structured, errors=chat, cancel=cancel)
